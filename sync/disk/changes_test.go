package disk

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/kingpinfs/kingpin/registry"
)

// A consumer hears at once of what the watchers do not know, then of every change; those that come while it works come together.
func TestChangesLosesNothingWhileItsConsumerWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, scratch(t), Options{})
		a, b, c := config("config.a"), File{registry.Serverset, "discovery.b.prod"}, File{registry.Decider, "c"}
		commit(t, s, a, 1, "a")
		ctx, cancel := context.WithCancel(t.Context())
		changes := make(chan Changed)
		ended := false
		go func() {
			for changed := range s.Changes(ctx) {
				changes <- changed // the consumer works until somebody takes it
			}
			ended = true
		}()
		expect := func(graph bool, files ...File) {
			t.Helper()
			if got := <-changes; !slices.Equal(got.Files, files) || got.Graph != graph {
				t.Errorf("changed: %+v, not %v", got, files)
			}
		}
		expect(false, a)
		commit(t, s, b, 1, "b")
		synctest.Wait() // now it is held up with b
		commit(t, s, c, 1, "c")
		commit(t, s, a, 2, "a2")
		commit(t, s, a, 3, "a3")
		commit(t, s, b, 2, "b") // same bytes
		if err := s.SetGraph(edges{"web.dep": nil}); err != nil {
			t.Fatal(err)
		}
		expect(false, b)
		expect(true, a, c)
		if err := s.Remove(b); err != nil {
			t.Fatal(err)
		}
		expect(false, b)
		commit(t, s, a, 3, "a3") // nothing
		s.Announced(s.Unannounced()[0].Stamp)
		synctest.Wait()
		select {
		case got := <-changes:
			t.Errorf("changed: %+v", got)
		default:
		}
		cancel()
		synctest.Wait()
		if !ended {
			t.Error("it goes on without its context")
		}
		s.Close()
	})
}

// The last value is always heard of: a consumer that reads after each wake-up ends up with the newest version of everything.
func TestChangesConvergesUnderLoad(t *testing.T) {
	s := openAt(t, scratch(t), Options{Keep: -1})
	const files, rounds = 20, 40
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan map[File]registry.Order)
	for range 2 {
		go func() {
			seen := map[File]registry.Order{}
			for changed := range s.Changes(ctx) {
				for _, f := range changed.Files {
					e, _ := s.Current(f)
					seen[f] = e.Order
				}
				if s.allAt(seen, files, rounds) {
					break
				}
			}
			done <- seen
		}()
	}
	for n := 1; n <= rounds; n++ {
		for i := range files {
			commit(t, s, config(fmt.Sprintf("config.n%02d", i)), registry.Order(n), fmt.Sprint(n, i))
		}
	}
	for range 2 {
		<-done // or the test times out
	}
}

func (s *Store) allAt(seen map[File]registry.Order, files int, order registry.Order) bool {
	for _, at := range seen {
		if at != order {
			return false
		}
	}
	return len(seen) == files
}

// What was committed but not announced when the server died is announced by the next one; what was announced is not again.
func TestUnannouncedVersionsAreKnownAfterARestart(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	a, b, c, d := config("config.a"), config("config.b"), config("config.c"), config("config.d")
	for _, f := range []File{a, b, c, d} {
		s.Announced(commit(t, s, f, 1, "one").Stamp)
	}
	a1, _ := s.Current(a)
	a2 := commit(t, s, a, 2, "two")
	commit(t, s, b, 2, "two")
	s.Announced(commit(t, s, b, 3, "three").Stamp) // announced past the one before
	for _, f := range []File{c, d} {
		if err := s.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	s.Announced(s.Removed()[1].Stamp)
	e := commit(t, s, config("config.e"), 1, "never announced")
	if err := s.Remove(e.File); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if got := s.Unannounced(); len(got) != 1 || got[0] != a2 {
			t.Errorf("unannounced: %v", got)
		}
		if got := s.Removed(); len(got) != 1 || got[0].File != c {
			t.Errorf("removed: %v", got)
		}
		if got := s.LastAnnounced(a); got != a1.Stamp {
			t.Errorf("last announced of a: %s", got)
		}
		if got := s.LastAnnounced(e.File); got != 0 {
			t.Errorf("last announced of what nobody heard of: %s", got)
		}
		for changed := range s.Changes(t.Context()) {
			if !slices.Equal(changed.Files, []File{a, c}) {
				t.Errorf("changed: %v", changed)
			}
			break
		}
		if n == 1 {
			if err := rewrite(s); err != nil {
				t.Fatal(err)
			}
		}
		s = reopen(t, s, Options{})
	}
	// It came back before anybody heard that it was gone: to the watchers it is a file that changed.
	c1 := s.LastAnnounced(c)
	commit(t, s, c, 1, "back")
	if got := s.LastAnnounced(c); got <= c1 || len(s.Removed()) > 0 {
		t.Errorf("last announced of c: %s, removed %v", got, s.Removed())
	}
	s.Announced(12345, a2.Stamp)
	if got := s.Unannounced(); len(got) != 1 || got[0].File != c {
		t.Errorf("unannounced: %v", got)
	}
}

// An announcement that could only be recorded after the file was removed counts as what it is: earlier.
func TestAnAnnouncementDuringARemovalIsNotForgotten(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	armed := false
	s := openAt(t, scratch(t), Options{step: func(at step) {
		if armed && at == stepAppended {
			close(reached)
			<-release
		}
	}})
	<-s.repaired
	f := config("config.a")
	e := commit(t, s, f, 1, "one")
	if err := s.SetGraph(edges{"web.dep": {"config.a"}}); err != nil {
		t.Fatal(err)
	}
	armed = true
	removed := make(chan error)
	go func() { removed <- s.Remove(f) }()
	<-reached
	s.Announced(e.Stamp)
	s.GraphAnnounced(s.Graph())
	close(release)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	armed = false
	for range 2 {
		if got := s.Removed(); len(got) != 1 || got[0].File != f {
			t.Errorf("removed: %v", got)
		}
		if !s.Graph().equal(s.AnnouncedGraph()) {
			t.Error("the graph counts as unannounced")
		}
		s = reopen(t, s, Options{})
	}
}

// Upkeep holds the directory for a moment now and then: what is announced just then gets into the journal all the same, though nothing
// else is ever committed.
func TestAnAnnouncementDuringUpkeepIsRecorded(t *testing.T) {
	s := openAt(t, scratch(t), Options{sync: 1}) // it begins at once
	f := config("config.a")
	for n := range 300 {
		e := commit(t, s, f, registry.Order(n), fmt.Sprint(n))
		eventually(t, func() bool { // it is about to come to rest
			s.writing.Lock()
			defer s.writing.Unlock()
			return len(s.unsynced.stamps) == 0
		})
		s.Announced(e.Stamp)
		eventually(t, func() bool {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return len(s.heard) == 0
		})
	}
}

// A journal written anew holds what was announced and not yet recorded; to record it once more must do no harm.
func TestAnAnnouncementDuringACheckpointCountsOnce(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	<-s.repaired
	s.Announced(commit(t, s, config("config.a"), 1, "one").Stamp)
	if err := s.SetGraph(edges{"web.dep": {"config.a"}}); err != nil {
		t.Fatal(err)
	}
	s.writing.Lock()
	s.GraphAnnounced(s.Graph())
	if err := s.checkpoint(); err != nil {
		t.Error(err)
	}
	s.writing.Unlock()
	s.settle()
	s = reopen(t, s, Options{})
	if got := s.AnnouncedGraph(); !got.equal(s.Graph()) || len(got.Dirs[0].Links) != 1 {
		t.Errorf("announced: %+v", got)
	}
	if got := s.Unannounced(); len(got) > 0 {
		t.Errorf("unannounced: %+v", got)
	}
}
