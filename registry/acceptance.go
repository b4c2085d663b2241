package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AcceptRoot is the node whose children are acceptances. No old reader looks there.
const AcceptRoot Pointer = "/kingpin/accept"

const (
	maxAcceptance   = 4096                // bytes of a node's data
	maxAuthor       = 255                 // bytes
	maxUntil        = 1 << 40             // seconds since 1970: whatever is later is a mistake
	acceptanceGrace = 24 * time.Hour      // how long one that is over may lie about
	longest         = 30 * 24 * time.Hour // of an acceptance: it is a decision for today
)

// Acceptance says that an operator believes whatever the registry shows of a serverset until some moment: every machine that follows
// it then shows the same, however much that shrank.
type Acceptance struct {
	Name  Name
	Until time.Time // by the clock of each machine, in whole seconds
	By    string    // user@host
	At    time.Time // when it was said
}

// Acceptances are all that there are at one moment, sorted by name and end; also some that are over.
type Acceptances struct {
	List  []Acceptance
	Order Order
}

// Node is the name of the node of an acceptance: the serverset, @, and its end in seconds since 1970. So who lists the nodes knows
// enough.
func (a Acceptance) Node() string {
	return string(a.Name) + "@" + strconv.FormatInt(a.Until.Unix(), 10)
}

// Obsolete says that an acceptance has been over for so long that its node may go.
func (a Acceptance) Obsolete(now time.Time) bool { return now.Sub(a.Until) > acceptanceGrace }

// Valid says whether an acceptance counts at a moment. One that would count for longer than anybody can say is nobody's.
func (a Acceptance) Valid(now time.Time) bool {
	return a.Until.After(now) && a.Until.Sub(now) <= longest
}

// Check refuses an acceptance that nobody could mean.
func (a Acceptance) Check() error {
	name, err := ParseName(string(a.Name))
	switch {
	case err != nil:
		return err
	case name.Kind() != Serverset:
		return fmt.Errorf("%s is no serverset, and only what a serverset has lost can be accepted: %w", a.Name, ErrInvalid)
	case a.Until.Sub(a.At) > longest:
		return fmt.Errorf("accepted for %v, at most %v: %w", a.Until.Sub(a.At), longest, ErrInvalid)
	}
	return nil
}

// acceptance is the data of a node.
type acceptance struct {
	Until time.Time `json:"until"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// Format is the data of the node.
func (a Acceptance) Format() ([]byte, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	by := a.By
	if len(by) > maxAuthor {
		by = by[:maxAuthor]
	}
	return json.Marshal(acceptance{time.Unix(a.Until.Unix(), 0).UTC(), strings.ToValidUTF8(by, ""), a.At.UTC().Round(time.Second)})
}

// ParseAcceptance reads a node. What its name says counts; the data only tells who it was, and may be missing.
func ParseAcceptance(node string, data []byte) (Acceptance, error) {
	word, end, ok := strings.Cut(node, "@")
	name, err := ParseName(word)
	if !ok || err != nil || name.Kind() != Serverset {
		return Acceptance{}, fmt.Errorf("acceptance %.200q is not SERVERSET@SECONDS: %w", node, ErrInvalid)
	}
	until, err := strconv.ParseInt(end, 10, 64)
	if err != nil || until < 0 || until > maxUntil || strconv.FormatInt(until, 10) != end {
		return Acceptance{}, fmt.Errorf("acceptance %.200q does not end in seconds since 1970: %w", node, ErrInvalid)
	}
	a := Acceptance{Name: name, Until: time.Unix(until, 0).UTC()}
	var said acceptance
	if len(data) <= maxAcceptance && json.Unmarshal(data, &said) == nil && utf8.ValidString(said.By) && len(said.By) <= maxAuthor {
		a.By, a.At = said.By, said.At.UTC()
	}
	return a, nil
}
