package mirror

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kingpinfs/kingpin/registry"
)

// sequence is a guard, a clock, and a registry that shows it things.
type sequence struct {
	*guard
	now    time.Time
	losses int64
}

// serversOf are the members a to h, say: "a b c". Each letter is an endpoint.
func serversOf(letters string) []registry.Member {
	var members []registry.Member
	for _, letter := range strings.Fields(letters) {
		members = append(members, registry.Member{Endpoint: registry.Endpoint(letter + ":1"), Node: letter})
	}
	return members
}

func lettersOf(places []place) string {
	var letters []string
	for _, p := range places {
		letters = append(letters, strings.TrimSuffix(string(p.Endpoint), ":1"))
	}
	return strings.Join(letters, " ")
}

func begin(rules GuardRules, shown string) *sequence {
	var lines []registry.Endpoint
	for _, m := range serversOf(shown) {
		lines = append(lines, m.Endpoint)
	}
	return &sequence{guard: newGuard(rules, lines, 0), now: time.Unix(1795296152, 0)}
}

// glance is one look after so long, and what the file shows and what is held then.
type glance struct {
	after    time.Duration
	said     string // "-": there is no such serverset
	accepted bool
	lost     bool // the registry was lost since the turn before
	shows    string
	held     string
}

func (s *sequence) take(turn glance) {
	s.now = s.now.Add(turn.after)
	if turn.lost {
		s.losses++
	}
	l := look{now: s.now, exists: turn.said != "-", accepted: turn.accepted, losses: s.losses}
	if l.exists {
		l.said = serversOf(turn.said)
	}
	s.step(l)
}

func TestGuard(t *testing.T) {
	const second, minute = time.Second, time.Minute
	off := DefaultGuard()
	off.Off = true
	strict := GuardRules{MinRatio: 1, MinMembers: 1, Release: time.Hour, Damping: time.Minute}
	for name, story := range map[string]struct {
		rules GuardRules
		disk  string
		turns []glance
	}{
		"members come at once": {DefaultGuard(), "", []glance{
			{said: "a", shows: "a"},
			{said: "a b", shows: "a b"},
		}},
		"a member leaves after the damping": {DefaultGuard(), "a b", []glance{
			{said: "b", shows: "a b", held: "damped to 1, was 2"},
			{after: 9 * second, said: "b", shows: "a b", held: "damped to 1, was 2"},
			{after: second, said: "b", shows: "b"},
		}},
		"a member that comes back was never gone": {DefaultGuard(), "a b", []glance{
			{said: "b", shows: "a b", held: "damped to 1, was 2"},
			{after: 9 * second, said: "a b", shows: "a b"},
			{after: second, said: "b", shows: "a b", held: "damped to 1, was 2"},
			{after: 9 * second, said: "b", shows: "a b", held: "damped to 1, was 2"},
			{after: second, said: "b", shows: "b"},
		}},
		"each member has a damping of its own": {DefaultGuard(), "a b c", []glance{
			{said: "b c", shows: "a b c", held: "damped to 2, was 3"},
			{after: 5 * second, said: "c", shows: "a b c", held: "damped to 1, was 3"},
			{after: 5 * second, said: "c", shows: "b c", held: "damped to 1, was 2"},
			{after: 5 * second, said: "c", shows: "c"},
		}},
		"an empty set is never believed by itself": {DefaultGuard(), "a b", []glance{
			{said: "", shows: "a b", held: "empty, was 2"},
			{after: 10000 * time.Hour, said: "", shows: "a b", held: "empty, was 2"},
			{after: second, said: "a b", shows: "a b"},
		}},
		"after an empty set who is late has the damping to come back": {DefaultGuard(), "a b c", []glance{
			{said: "", shows: "a b c", held: "empty, was 3"},
			{after: minute, said: "b", shows: "a b c", held: "damped to 1, was 3"},
			{after: 9 * second, said: "a b", shows: "a b c", held: "damped to 2, was 3"},
			{after: second, said: "a b", shows: "a b"},
		}},
		"less than half of five is held for ten minutes": {DefaultGuard(), "a b c d e", []glance{
			{said: "a b", shows: "a b c d e", held: "shrunk to 2, was 5"},
			{after: 10*minute - second, said: "a b", shows: "a b c d e", held: "shrunk to 2, was 5"},
			{after: second, said: "a b", shows: "a b"},
		}},
		"half of six is not": {DefaultGuard(), "a b c d e f", []glance{
			{said: "a b c", shows: "a b c d e f", held: "damped to 3, was 6"},
			{after: 10 * second, said: "a b c", shows: "a b c"},
		}},
		"less than half of four is not": {DefaultGuard(), "a b c d", []glance{
			{said: "a", shows: "a b c d", held: "damped to 1, was 4"},
			{after: 10 * second, said: "a", shows: "a"},
		}},
		"a collapse that comes bit by bit within the damping is held": {DefaultGuard(), "a b c d e f", []glance{
			{said: "b c d e f", shows: "a b c d e f", held: "damped to 5, was 6"},
			{after: 3 * second, said: "d e f", shows: "a b c d e f", held: "damped to 3, was 6"},
			{after: 3 * second, said: "f", shows: "a b c d e f", held: "shrunk to 1, was 6"},
			{after: minute, said: "f", shows: "a b c d e f", held: "shrunk to 1, was 6"},
			{after: minute, said: "", shows: "a b c d e f", held: "empty, was 6"},
		}},
		"a held set that changes waits ten minutes more": {DefaultGuard(), "a b c d e", []glance{
			{said: "a b", shows: "a b c d e", held: "shrunk to 2, was 5"},
			{after: 9 * minute, said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: 9 * minute, said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: minute, said: "a", shows: "a"},
		}},
		"a held set clears itself when it is whole": {DefaultGuard(), "a b c d e", []glance{
			{said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: minute, said: "a b c d e", shows: "a b c d e"},
		}},
		"who comes to a held set is there at once, and may go again": {DefaultGuard(), "a b c d e", []glance{
			{said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: minute, said: "a x", shows: "a b c d e x", held: "shrunk to 2, was 5"},
			{after: minute, said: "a y", shows: "a b c d e x y", held: "shrunk to 2, was 5"},
			{after: 10 * second, said: "a y", shows: "a b c d e y", held: "shrunk to 2, was 5"},
			{after: second, said: "a y z", shows: "a b c d e y z", held: "damped to 3, was 7"},
			{after: second, said: "a y z", shows: "a b c d e y z", held: "damped to 3, was 7"},
			{after: 9 * second, said: "a y z", shows: "a y z"},
		}},
		"another fleet takes over at once": {DefaultGuard(), "a b c d e", []glance{
			{said: "v w x y z", shows: "a b c d e v w x y z", held: "damped to 5, was 10"},
			{after: 10 * second, said: "v w x y z", shows: "v w x y z"},
		}},
		"what is said after a loss counts from then": {DefaultGuard(), "a b", []glance{
			{said: "a", shows: "a b", held: "damped to 1, was 2"},
			{after: 9 * second, lost: true, said: "a", shows: "a b", held: "damped to 1, was 2"},
			{after: 9 * second, said: "a", shows: "a b", held: "damped to 1, was 2"},
			{after: second, said: "a", shows: "a"},
		}},
		"ten minutes of a healthy session": {DefaultGuard(), "a b c d e", []glance{
			{said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: 9 * minute, lost: true, said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: 9 * minute, said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: minute, said: "a", shows: "a"},
		}},
		"a deleted node keeps everybody": {DefaultGuard(), "a b", []glance{
			{said: "-", shows: "a b", held: "its node was deleted from the registry, was 2"},
			{after: 10000 * time.Hour, said: "-", shows: "a b", held: "its node was deleted from the registry, was 2"},
			{after: second, said: "", shows: "a b", held: "empty, was 2"},
			{after: second, said: "a b c", shows: "a b c"},
		}},
		"an operator is believed": {DefaultGuard(), "a b c d e", []glance{
			{said: "a", shows: "a b c d e", held: "shrunk to 1, was 5"},
			{after: second, said: "a", accepted: true, shows: "a"},
			{after: second, said: "", accepted: true, shows: ""},
			{after: second, said: "x", shows: "x"},
			{after: second, said: "", shows: "x", held: "empty, was 1"},
			{after: second, said: "-", accepted: true, shows: ""},
		}},
		"guard = off shows what is said, but for a deleted node": {off, "a b c d e", []glance{
			{said: "a", shows: "a"},
			{said: "", shows: ""},
			{said: "a b", shows: "a b"},
			{said: "-", shows: "a b", held: "its node was deleted from the registry, was 2"},
			{said: "", shows: ""},
		}},
		"rules may be stricter": {strict, "a b", []glance{
			{said: "a", shows: "a b", held: "shrunk to 1, was 2"},
			{after: 59 * minute, said: "a b", shows: "a b"},
			{after: minute, said: "a", shows: "a b", held: "shrunk to 1, was 2"},
			{after: time.Hour, said: "a", shows: "a"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(story.rules, story.disk)
			for i, turn := range story.turns {
				s.take(turn)
				if got := lettersOf(s.places); got != turn.shows {
					t.Errorf("turn %d: shows %q, want %q", i, got, turn.shows)
				}
				if got := s.hold().String(); got != turn.held {
					t.Errorf("turn %d: holds %q, want %q", i, got, turn.held)
				}
			}
		})
	}
}

// TestGuardStartsAnew: wherever a monitor ends, the guard of the next one, which knows no more than the file, removes nobody at once.
func TestGuardStartsAnew(t *testing.T) {
	s := begin(DefaultGuard(), "a b c d e")
	s.take(glance{said: "a"})
	s.take(glance{after: 9 * time.Minute, said: "a"})
	next := newGuard(DefaultGuard(), endpoints(s.places), 0)
	for range 3 {
		next.step(look{now: s.now, exists: true, said: serversOf("a")})
		if got := lettersOf(next.places); got != "a b c d e" {
			t.Fatalf("after the restart it shows %q", got)
		}
		s.now = s.now.Add(3 * time.Minute)
	}
	if got := next.hold().String(); got != "shrunk to 1, was 5" {
		t.Errorf("after the restart it holds %q", got)
	}
}

// TestGuardSaysWhenToLook: whoever only looks again when the guard says so ends with what the registry shows, unless that is nobody.
func TestGuardSaysWhenToLook(t *testing.T) {
	for _, said := range []string{"a b c d", "a b c", "a", ""} {
		s := begin(DefaultGuard(), "a b c d e f")
		l := look{now: s.now, exists: true, said: serversOf(said)}
		looks := 0
		for again := s.step(l); again > 0; again = s.step(l) {
			if looks++; looks > 5 {
				t.Fatalf("%q: it never ends", said)
			}
			l.now = l.now.Add(again)
		}
		want := said
		if said == "" {
			want = "a b c d e f"
		}
		if got := lettersOf(s.places); got != want {
			t.Errorf("%q: in the end it shows %q", said, got)
		}
	}
}

// TestGuardProperties: whatever a registry shows in whatever order, nobody who is there is missing, nobody who never was is there,
// nobody goes who was not gone for long enough, and a file that had somebody has somebody.
func TestGuardProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := GuardRules{
			MinRatio:   rapid.Float64Range(0, 1).Draw(t, "ratio"),
			MinMembers: rapid.IntRange(1, 6).Draw(t, "members"),
			Damping:    time.Duration(rapid.IntRange(0, 20).Draw(t, "damping")) * time.Second,
		}
		rules.Release = rules.Damping + time.Duration(rapid.IntRange(0, 100).Draw(t, "release"))*time.Second
		s := begin(rules, rapid.SampledFrom([]string{"", "a", "a b c", "a b c d e f g h"}).Draw(t, "disk"))
		seen := map[registry.Endpoint]time.Time{} // when it was last there
		for _, p := range s.places {
			seen[p.Endpoint] = s.now
		}
		same := s.now // since when the registry has shown the same
		last := "?"
		for range rapid.IntRange(1, 40).Draw(t, "turns") {
			turn := glance{
				after: time.Duration(rapid.IntRange(0, 30).Draw(t, "after")) * time.Second,
				said:  strings.Join(subset(t, "a b c d e f g h"), " "),
				lost:  rapid.IntRange(0, 9).Draw(t, "lost") == 0,
			}
			if rapid.IntRange(0, 9).Draw(t, "deleted") == 0 {
				turn.said = "-"
			}
			before, was := slices.Clone(s.places), s.settled()
			if s.held != nil {
				was = s.held.was
			}
			s.take(turn)
			if turn.said != last || turn.lost {
				same, last = s.now, turn.said
			}
			checkTurn(t, rules, s, turn, before, was, seen, same)
		}
		// And in the end it is what the registry shows.
		turn := glance{said: "a b"}
		s.take(turn)
		turn.after = rules.Release + rules.Damping
		s.take(turn)
		s.take(turn)
		if got := lettersOf(s.places); got != turn.said {
			t.Fatalf("in the end it shows %q, and the registry %q", got, turn.said)
		}
	})
}

func subset(t *rapid.T, letters string) []string {
	mask := rapid.Uint8().Draw(t, "who")
	var chosen []string
	for i, letter := range strings.Fields(letters) {
		if mask&(1<<i) != 0 {
			chosen = append(chosen, letter)
		}
	}
	return chosen
}

func checkTurn(t *rapid.T, rules GuardRules, s *sequence, turn glance, before []place, was int, seen map[registry.Endpoint]time.Time, same time.Time) {
	now := endpoints(s.places)
	if !slices.IsSorted(now) || len(slices.Compact(slices.Clone(now))) != len(now) {
		t.Fatalf("not sorted, each once: %q", now)
	}
	if len(before) > 0 && len(now) == 0 {
		t.Fatalf("nobody is left of %s", lettersOf(before))
	}
	there := map[registry.Endpoint]bool{}
	if turn.said != "-" {
		for _, m := range serversOf(turn.said) {
			there[m.Endpoint] = true
			seen[m.Endpoint] = s.now
			if !slices.Contains(now, m.Endpoint) {
				t.Fatalf("%s is there and not shown", m.Endpoint)
			}
		}
	}
	for _, e := range now {
		if _, ever := seen[e]; !ever {
			t.Fatalf("%s is shown and never was there", e)
		}
	}
	for _, p := range before {
		if slices.Contains(now, p.Endpoint) {
			continue
		}
		if turn.said == "-" {
			t.Fatalf("%s went with the node", p.Endpoint)
		}
		if gone := s.now.Sub(seen[p.Endpoint]); gone < rules.Damping {
			t.Fatalf("%s went after %v", p.Endpoint, gone)
		}
		if float64(len(there)) < rules.MinRatio*float64(was) && was >= rules.MinMembers && p.late.IsZero() &&
			s.now.Sub(same) < rules.Release {
			t.Fatalf("%s went when %d of %d were left, for %v", p.Endpoint, len(there), was, s.now.Sub(same))
		}
	}
	if h := s.hold(); (h.Reason == "") != (len(now) == len(there)) || h.Reason != "" && h.Now != len(there) {
		t.Fatalf("shown %q, there %d, and held %q", now, len(there), h)
	}
}

func TestRosterTakesTheLatestRegistration(t *testing.T) {
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	got := roster([]registry.Member{
		{Endpoint: "b:1", Node: "3", Since: early, Weight: 3},
		{Endpoint: "a:1", Node: "1", Since: early, Weight: 1},
		{Endpoint: "a:1", Node: "2", Since: late, Weight: 2},
	})
	if s := fmt.Sprintln(len(got), got[0].Endpoint, got[0].Weight, got[1].Endpoint); s != "2 a:1 2 b:1\n" {
		t.Errorf("the roster is %s", s)
	}
}

// BenchmarkGuard takes a look at ten thousand members of which one has just come and another one has just gone.
func BenchmarkGuard(b *testing.B) {
	var members []registry.Member
	for i := range 10_000 {
		members = append(members, registry.Member{Endpoint: registry.Endpoint(fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255))})
	}
	members = roster(members)
	g := newGuard(DefaultGuard(), nil, 0)
	now := time.Unix(1795296152, 0)
	for i := 0; b.Loop(); i++ {
		now = now.Add(100 * time.Millisecond)
		g.step(look{now: now, exists: true, said: members[i%100 : 9_900+i%100]})
	}
}
