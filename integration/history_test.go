package integration

import (
	"fmt"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A publish that several writers make at once is checked against a register that each of them has alone for a moment: what it holds is
// the content, and as no two writers write the same, a content is a version.

// What came of a publish, as its writer was told.
const (
	acknowledged = "acknowledged"
	lost         = "lost"    // somebody else was first
	refused      = "refused" // nothing changed
	unknown      = "unknown" // it happened or not
)

// publish is one gesture of a writer.
type publish struct {
	writer  int
	machine int
	name    string
	gesture string // write, append, change, or look: at what is there when all is over
	base    string // of a change: the content that it was made from
	value   string // what is written, or appended
	made    string // of an append: the content that it made, if that is known

	called, returned time.Duration // since the beginning
	came             string
}

func (p publish) String() string {
	return fmt.Sprintf("%v-%v writer %d on machine %d: %s %s %q from %q: %s", p.called.Round(time.Millisecond), p.returned.Round(time.Millisecond),
		p.writer, p.machine, p.gesture, p.name, p.value, p.base, p.came)
}

// after are the contents that a register may have after a publish that found this one; none: it cannot have found this one.
func (p publish) after(content string) []any {
	made, possible := p.value, true
	switch p.gesture {
	case "look":
		made, possible = content, content == p.value
	case "append":
		made = content + p.value
		possible = p.made == "" || p.made == made
	case "change":
		possible = p.base == content
	}
	switch {
	case p.came == lost && p.gesture == "change":
		if possible {
			return nil // nobody was first
		}
		return []any{content}
	case p.came == acknowledged && possible:
		return []any{made}
	case p.came == unknown && possible:
		return []any{content, made}
	case p.came == unknown:
		return []any{content}
	}
	return nil
}

// publishLimit is how long a publish may go on after its writer has lost sight of it: its server is dead or has given it up by then, and
// what that had sent to ZooKeeper is answered, however busy the machine is.
const publishLimit = 20 * time.Second

// linearizable says whether there is an order of the publishes in which each found what the one before has left, and none came before
// another that had returned when it was called. The publishes of a name that are in no such order are in the error.
func linearizable(published []publish, limit time.Duration) error {
	register := porcupine.NondeterministicModel{
		Init:  func() []any { return []any{""} },
		Step:  func(content, in, _ any) []any { return in.(publish).after(content.(string)) },
		Equal: func(a, b any) bool { return a == b },
	}
	names := map[string][]porcupine.Operation{}
	for _, p := range published {
		if p.came == refused || p.came == lost && p.gesture != "change" {
			continue // it has done nothing, whenever that was
		}
		until := p.returned
		if p.came == unknown {
			until += publishLimit
		}
		names[p.name] = append(names[p.name], porcupine.Operation{ClientId: p.writer, Input: p, Call: int64(p.called), Return: int64(until)})
	}
	for name, history := range names {
		switch result, info := porcupine.CheckOperationsVerbose(register.ToModel(), history, limit); result {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("%s: %d publishes, and no answer within %v", name, len(history), limit)
		default:
			return fmt.Errorf("%s: %d publishes are in no order; the longest that is one goes to\n%s", name, len(history), around(history, info))
		}
	}
	return nil
}

// around is what happened where an order ends.
func around(history []porcupine.Operation, info porcupine.LinearizationInfo) string {
	longest := 0
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			longest = max(longest, len(order))
		}
	}
	var text strings.Builder
	for _, o := range history[max(0, longest-10):min(len(history), longest+10)] {
		fmt.Fprintln(&text, o.Input)
	}
	return text.String()
}
