package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// crash is what a step panics with to end a store where it stands.
type crash struct{ at step }

// crashing runs write on a store that ends at its n-th step, and lets go of the directory as a dead process does. It returns the step,
// or "" if the write came to its end.
func crashing(t *testing.T, dir string, n int, write func(s *Store)) (at step) {
	t.Helper()
	armed := false
	s, err := Open(dir, Options{step: func(at step) {
		if armed {
			if n--; n == 0 {
				panic(crash{at})
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-s.repaired
	defer func() {
		s.writing.Lock()
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.writing.Unlock()
		close(s.done)
		<-s.kept
		s.release()
		if r := recover(); r != nil {
			c, ok := r.(crash)
			if !ok {
				panic(r)
			}
			at = c.at
		}
	}()
	armed = true
	write(s)
	return ""
}

// state is all that a reader can see, in words.
func state(t *testing.T, s *Store) string {
	t.Helper()
	text := ""
	for _, kind := range kinds {
		for _, e := range s.List(kind) {
			b := body(t, s, e.Stamp)
			text += fmt.Sprintf("%s=%s;", e.File, b)
			if p := plain(t, s, e.File); p != b {
				t.Errorf("plain file of %s is %q, current is %q", e.File, p, b)
			}
		}
		names, err := os.ReadDir(s.dir.path("files", kind.String()))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != len(s.List(kind)) {
			t.Errorf("%d plain files of %d: %v", len(names), len(s.List(kind)), names)
		}
	}
	for _, d := range s.Graph().Dirs {
		text += fmt.Sprintf("%s:", d.Name)
		for _, l := range d.Links {
			text += fmt.Sprintf("%s,", l.Edge)
		}
	}
	for _, e := range s.Superseded() {
		text += fmt.Sprintf(" old %s=%s", e.File, body(t, s, e.Stamp))
	}
	return text
}

// A crash at any step leaves the old state or the new one, whole, in the store and in the plain tree, and nothing else in the directory.
func TestACrashAtAnyStepLeavesTheOldStateOrTheNewOne(t *testing.T) {
	a, b, c, d := config("config.a"), File{registry.Serverset, "discovery.b.prod"}, File{registry.Decider, "c"}, config("config.d")
	setup := func(t *testing.T, s *Store) {
		commit(t, s, a, 1, "a0")
		commit(t, s, a, 2, "a1")
		commit(t, s, b, 3, "b1")
		commit(t, s, c, 4, "c1")
		if err := s.SetGraph(map[registry.Dependency][]registry.Edge{"web.dep": {"config.a"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, write := range map[string]func(s *Store) error{
		"commit of one file": func(s *Store) error {
			_, err := s.Commit(Commit{File: a, Order: 9, Body: []byte("a2")})
			return err
		},
		"commit of three files": func(s *Store) error {
			_, err := s.Commit(Commit{File: a, Order: 9, Body: []byte("a2")}, Commit{File: b, Order: 9, Body: []byte("b2")},
				Commit{File: d, Order: 9, Body: []byte("d2")})
			return err
		},
		"commit of more files than are synced one by one": func(s *Store) error {
			commits := []Commit{{File: a, Order: 9, Body: []byte("a2")}}
			for i := range fewBodies + 1 {
				commits = append(commits, Commit{File: config(fmt.Sprint("config.n", i)), Body: []byte("n")})
			}
			_, err := s.Commit(commits...)
			return err
		},
		"remove": func(s *Store) error { return s.Remove(a) },
		"drop":   func(s *Store) error { return s.Drop(s.SupersededOf(a)[0].Stamp) },
		"set graph": func(s *Store) error {
			return s.SetGraph(map[registry.Dependency][]registry.Edge{"web.dep": {"discovery.b.prod"}, "base.dep": {"web.dep"}})
		},
		"checkpoint": func(s *Store) error {
			s.writing.Lock()
			defer s.writing.Unlock()
			return s.checkpoint()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after string
			var passed []step
			for n := 1; n == 1 || passed[len(passed)-1] != ""; n++ {
				s := openAt(t, scratch(t), Options{})
				setup(t, s)
				before = state(t, s)
				last := s.index.last
				s.Close()
				var failed error
				at := crashing(t, s.Dir(), n, func(s *Store) { failed = write(s) })
				if failed != nil {
					t.Fatal(failed)
				}
				passed = append(passed, at)

				s = openAt(t, s.Dir(), Options{})
				<-s.repaired
				got := state(t, s)
				switch {
				case at == "":
					after = got
				case committedBefore(at) && got == before:
					t.Errorf("crash at %q, step %d: acknowledged or not, it was committed, but the state is the old one", at, n)
				case !committedBefore(at) && at != stepAppended && at != stepCheckpointWritten && got != before:
					t.Errorf("crash at %q, step %d: state is %s, was %s", at, n, got, before)
				}
				passedAsWhole(t, s, got, before, &after, at)
				checkTidy(t, s)
				if e := commit(t, s, a, 99, "later"); e.Stamp <= last {
					t.Errorf("stamp %d after %d", e.Stamp, last)
				}
				s.Close()
			}
			if len(passed) < 3 {
				t.Errorf("only these steps were crashed at: %q", passed)
			}
		})
	}
}

// committedBefore says whether a write that reached the step has happened, whatever happens next. A dropped body is no loss.
func committedBefore(at step) bool {
	return slices.Contains([]step{stepCommitted, stepApplied, stepPlain, stepDropped}, at)
}

// passedAsWhole checks that the state is one of two: all that were seen after the commit point must be equal.
func passedAsWhole(t *testing.T, s *Store, got, before string, after *string, at step) {
	t.Helper()
	if got == before {
		return
	}
	if *after == "" {
		*after = got
	}
	if got != *after {
		t.Errorf("crash at %q: state is neither old nor new:\n  %s\nold %s\nnew %s", at, got, before, *after)
	}
}

// checkTidy checks that there is nothing in the directory but what the index says.
func checkTidy(t *testing.T, s *Store) {
	t.Helper()
	bodies, err := filepath.Glob(s.dir.path("bodies", "*"))
	if err != nil || len(bodies) != len(s.index.versions) {
		t.Errorf("%d bodies for %d versions (%v)", len(bodies), len(s.index.versions), err)
	}
	for _, dir := range []string{"stage", "quarantine"} {
		if left, _ := os.ReadDir(s.dir.path(dir)); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

// Until it was made durable, a body may be anything after a power cut. Nobody must have named it by then.
func TestAPowerCutBeforeTheBodyIsDurableLeavesTheOldVersion(t *testing.T) {
	f := config("config.a")
	s := openAt(t, scratch(t), Options{})
	old := commit(t, s, f, 1, "old")
	s.Close()
	at := crashing(t, s.Dir(), 2, func(s *Store) { commit(t, s, f, 2, "new") })
	if at != stepBody {
		t.Fatalf("stopped at %q", at)
	}
	bodies, _ := filepath.Glob(s.dir.path("bodies", "*"))
	for _, path := range bodies {
		if path != s.dir.body(old.Stamp) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(bodies) != 2 {
		t.Errorf("bodies: %v", bodies)
	}
	s = openAt(t, s.Dir(), Options{})
	<-s.repaired
	if got := current(t, s, f); got != "old" {
		t.Errorf("current is %q", got)
	}
	checkTidy(t, s)
}

// The last record of the journal, cut at every byte, counts for nothing, and the next one takes its place.
func TestAJournalTornAtAnyByteOfItsLastRecordOpensAtTheStateBefore(t *testing.T) {
	f := config("config.a")
	s := openAt(t, scratch(t), Options{})
	commit(t, s, f, 1, "old")
	<-s.repaired
	s.writing.Lock()
	start := s.journal.size
	s.writing.Unlock()
	s.Close()
	if at := crashing(t, s.Dir(), 5, func(s *Store) { commit(t, s, f, 2, "new") }); at != stepAppended {
		t.Fatalf("stopped at %q", at)
	}
	whole, err := os.ReadFile(s.dir.journal())
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) < int(start)+recordHeader {
		t.Fatalf("journal of %d bytes, last record at %d", len(whole), start)
	}
	for _, torn := range []string{"cut", "zeros", "garbage"} {
		for cut := int(start); cut < len(whole); cut++ {
			b := slices.Clone(whole[:cut])
			for i := cut; torn != "cut" && i < len(whole); i++ {
				b = append(b, map[string]byte{"zeros": 0, "garbage": 'K'}[torn])
			}
			if bytes.Equal(b, whole) {
				continue // the record happens to end in what it was torn with
			}
			if err := os.WriteFile(s.dir.journal(), b, 0o600); err != nil {
				t.Fatal(err)
			}
			checkTorn(t, s.Dir(), f, fmt.Sprintf("%s at byte %d", torn, cut))
			if t.Failed() {
				return
			}
		}
	}
}

func checkTorn(t *testing.T, dir string, f File, what string) {
	t.Helper()
	s := &Store{dir: layout(dir), index: newIndex(3), log: quiet}
	if err := s.load(true); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.journal.file.Close()
	if info, err := s.journal.file.Stat(); err != nil || info.Size() != s.journal.size {
		t.Errorf("%s: the torn end was left there: %v", what, err)
	}
	v := s.index.current(f)
	if v == nil || v.entry.Order != 1 {
		t.Errorf("%s: current is %+v", what, v)
	}
	if err := s.journal.append([]op{remove{file: f, stamp: 1}}, true, func() {}); err != nil {
		t.Fatal(err)
	}
	again := &Store{dir: layout(dir), index: newIndex(3), log: quiet}
	if err := again.load(true); err != nil {
		t.Fatal(err)
	}
	defer again.journal.file.Close()
	if again.index.current(f) != nil {
		t.Errorf("%s: what was written after it is not there", what)
	}
}
