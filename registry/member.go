package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxWeight is the heaviest weight of a member, as in a DNS SRV record.
const MaxWeight = 65535

const (
	maxMemberNode  = 512  // bytes of a member's node name
	maxMemberData  = 4096 // bytes of a member's node data
	maxLabels      = 32
	maxLabelKey    = 63  // bytes
	maxLabelValue  = 255 // bytes
	memberIDLength = 32  // hex digits before the endpoint
)

// MemberNode is a fresh node name for a registration of e: 32 hex digits of a random UUID, a dash, the endpoint. Old readers find
// the endpoint behind the first dash, so there is none in the UUID.
func MemberNode(e Endpoint) string {
	var id [memberIDLength / 2]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the process first
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:]) + "-" + string(e)
}

// attributes is the second line of a member's data.
type attributes struct {
	Labels map[string]string `json:"labels,omitempty"`
	Weight int               `json:"weight,omitempty"`
}

// FormatMember is the data of the member's node: the endpoint, exactly what old registrars wrote. A weight or labels follow on a
// second line as a JSON object.
func FormatMember(m Member) ([]byte, error) {
	if _, err := ParseEndpoint(string(m.Endpoint)); err != nil {
		return nil, err
	}
	if m.Weight == 0 && len(m.Labels) == 0 {
		return []byte(m.Endpoint), nil
	}
	if !isWeight(m.Weight) {
		return nil, fmt.Errorf("weight %d of %s is not from 0 to %d: %w", m.Weight, m.Endpoint, MaxWeight, ErrInvalid)
	}
	if len(m.Labels) > maxLabels {
		return nil, fmt.Errorf("%d labels of %s, at most %d: %w", len(m.Labels), m.Endpoint, maxLabels, ErrTooLarge)
	}
	for key, value := range m.Labels {
		if !isLabel(key, value) {
			return nil, fmt.Errorf("label %.80q=%.80q of %s: %w", key, value, m.Endpoint, ErrInvalid)
		}
	}
	line, err := json.Marshal(attributes{Labels: m.Labels, Weight: m.Weight})
	if err != nil {
		return nil, fmt.Errorf("attributes of %s: %w", m.Endpoint, err)
	}
	data := append([]byte(m.Endpoint+"\n"), line...)
	if len(data) > maxMemberData {
		return nil, fmt.Errorf("member %s of %d bytes, at most %d: %w", m.Endpoint, len(data), maxMemberData, ErrTooLarge)
	}
	return data, nil
}

// ParseMember reads one child of a serverset's node. The endpoint is taken from the child's name, since that is all that old
// readers look at; data only decides where the name can be read in two ways. A child that is no member (a lock, a note) is
// ErrInvalid; data that cannot be understood costs a member its weight and labels, never its place. Since is not in either: it is
// for the registry to say.
func ParseMember(node string, data []byte) (Member, error) {
	if len(node) > maxMemberNode {
		return Member{}, fmt.Errorf("member node of %d bytes, at most %d: %w", len(node), maxMemberNode, ErrInvalid)
	}
	said, rest, _ := bytes.Cut(data[:min(len(data), maxMemberData)], []byte("\n"))
	endpoint, err := storedEndpoint(memberEndpoint(node, string(bytes.TrimSpace(said))))
	if err != nil {
		return Member{}, fmt.Errorf("member node %q: %w", node, err)
	}
	m := Member{Node: node, Endpoint: endpoint}
	if len(rest) > 0 && len(data) <= maxMemberData {
		m.Weight, m.Labels = parseAttributes(rest)
	}
	return m, nil
}

// memberEndpoint is the part of a node name that names the endpoint. In order: behind the 32 hex digits that every KingPin writes;
// what the data says, if the name ends with it; behind a UUID with dashes; behind the first dash, or the whole name where there is
// none, as the old readers have it.
func memberEndpoint(node, said string) string {
	if id, rest, ok := strings.Cut(node, "-"); ok && len(id) == memberIDLength && isHex(id) {
		return rest
	}
	if _, err := storedEndpoint(said); err == nil && (node == said || strings.HasSuffix(node, "-"+said)) {
		return said
	}
	if rest, ok := cutUUID(node); ok {
		return rest
	}
	return node[strings.IndexByte(node, '-')+1:]
}

// cutUUID cuts a UUID in its usual spelling, 8-4-4-4-12 hex digits, and the dash behind it.
func cutUUID(s string) (rest string, ok bool) {
	for _, digits := range [...]int{8, 4, 4, 4, 12} {
		if len(s) <= digits || s[digits] != '-' || !isHex(s[:digits]) {
			return "", false
		}
		s = s[digits+1:]
	}
	return s, true
}

// parseAttributes keeps what it can: a label of the wrong form is dropped, not its neighbours.
func parseAttributes(line []byte) (weight int, labels map[string]string) {
	var a attributes
	// The error is of no use: Unmarshal has filled in what fits, and what does not is as if it had not been said.
	_ = json.Unmarshal(line, &a)
	for key, value := range a.Labels {
		if isLabel(key, value) && len(labels) < maxLabels {
			if labels == nil {
				labels = make(map[string]string, len(a.Labels))
			}
			labels[key] = value
		}
	}
	if isWeight(a.Weight) {
		weight = a.Weight
	}
	return weight, labels
}

func isWeight(n int) bool { return n >= 0 && n <= MaxWeight }

// isLabel accepts a key of letters, digits, -, _, dots and slashes, and a value of one printable line.
func isLabel(key, value string) bool {
	if key == "" || len(key) > maxLabelKey || len(value) > maxLabelValue || !utf8.ValidString(value) {
		return false
	}
	for _, c := range []byte(key) {
		if !isWordByte(c) && c != '.' && c != '/' {
			return false
		}
	}
	return !strings.ContainsFunc(value, unicode.IsControl)
}

func isHex(s string) bool {
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isHexDigit(b byte) bool {
	return isDigit(b) || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}
