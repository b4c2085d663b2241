package mirror

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The metadata of a body, where readers of the Python KingPin do not look: x-amz-meta-sha256 and so on.
const (
	metaSHA256    = "sha256"    // hexadecimal
	metaAuthor    = "author"    // as encodeMeta writes it
	metaMessage   = "message"   // likewise
	metaPublished = "published" // RFC 3339
	metaReplaces  = "replaces"  // a version
)

const (
	// maxMeta bounds all metadata of an object in bytes, names and values. It is S3's limit.
	maxMeta = 2 << 10

	// metaOverhead is what one of them takes besides its value, if the server counts all of its name: x-amz-meta-published.
	metaOverhead = 20

	// maxMetaValue bounds the author and the message of somebody else's object, in bytes.
	maxMetaValue = 2 << 10

	base64Mark = "base64:"
)

// packMeta never exceeds what S3 takes: whatever Publish lets through fits, of anything longer the end is cut.
func packMeta(m registry.Meta) map[string]string {
	meta := map[string]string{}
	room := maxMeta
	add := func(name, value string) {
		if value != "" {
			meta[name] = value
			room -= metaOverhead + len(value)
		}
	}
	if m.SHA256 != (registry.Checksum{}) {
		add(metaSHA256, hex.EncodeToString(m.SHA256[:]))
	}
	if !m.Published.IsZero() {
		add(metaPublished, m.Published.UTC().Format(time.RFC3339Nano))
	}
	add(metaReplaces, string(m.Replaces))
	add(metaAuthor, shortMeta(m.Author, room/3))
	add(metaMessage, shortMeta(m.Message, room-metaOverhead))
	return meta
}

// unpackMeta is the reverse. A checksum that is none is ErrChecksum: nobody can say that the body is what it was. The rest is only
// for people.
func unpackMeta(meta map[string]string) (registry.Meta, error) {
	m := registry.Meta{Author: decodeMeta(meta[metaAuthor]), Message: decodeMeta(meta[metaMessage])}
	if at, err := time.Parse(time.RFC3339Nano, meta[metaPublished]); err == nil {
		m.Published = at.UTC()
	}
	if v, err := registry.ParseVersion(meta[metaReplaces]); err == nil {
		m.Replaces = v
	}
	if sum, ok := meta[metaSHA256]; ok {
		bytes, err := hex.DecodeString(sum)
		if err != nil || len(bytes) != len(m.SHA256) {
			return registry.Meta{}, fmt.Errorf("its metadata hold %.80q for a SHA-256: %w", sum, registry.ErrChecksum)
		}
		m.SHA256 = registry.Checksum(bytes)
	}
	return m, nil
}

// shortMeta is a value that takes at most room bytes.
func shortMeta(value string, room int) string {
	encoded := encodeMeta(value)
	for short := []rune(value); len(encoded) > room && len(short) > 0; {
		short = short[:len(short)*9/10]
		encoded = encodeMeta(string(short) + "...")
	}
	return encoded
}

// encodeMeta writes a value as a header: printable ASCII as it is, everything else, and what headers lose, percent-encoded, or all
// of it in base64 where that is shorter.
func encodeMeta(value string) string {
	var b strings.Builder
	for i, c := range []byte(value) {
		if plainInMeta(value, i) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if short := len(base64Mark) + base64.RawStdEncoding.EncodedLen(len(value)); short < b.Len() {
		return base64Mark + base64.RawStdEncoding.EncodeToString([]byte(value))
	}
	return b.String()
}

// plainInMeta says whether byte i of value may stand in a header as it is. Blanks at the ends and in a row get lost on the way,
// and =? begins what RFC 2047 has decoded.
func plainInMeta(value string, i int) bool {
	switch c := value[i]; {
	case c <= ' ' && c != ' ', c > '~', c == '%':
		return false
	case c == ' ':
		return i > 0 && i < len(value)-1 && value[i-1] != ' '
	case c == '=':
		return !strings.HasPrefix(value[i:], "=?")
	default:
		return i > 0 || !strings.HasPrefix(value, base64Mark)
	}
}

func decodeMeta(value string) string {
	decoded := value // what nobody has encoded
	if rest, ok := strings.CutPrefix(value, base64Mark); ok {
		if bytes, err := base64.RawStdEncoding.DecodeString(rest); err == nil {
			decoded = string(bytes)
		}
	} else if text, err := url.PathUnescape(value); err == nil {
		decoded = text
	}
	return decoded[:min(len(decoded), maxMetaValue)]
}
