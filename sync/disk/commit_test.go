package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func isErr(err, target error) bool { return errors.Is(err, target) }

func TestAnOlderStateNeverReplacesANewerOne(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	f := config("config.a")
	newer := commit(t, s, f, 10, "newer")
	if got := commit(t, s, f, 9, "older"); got != newer {
		t.Errorf("commit of an older state answered %+v", got)
	}
	if got := current(t, s, f); got != "newer" {
		t.Errorf("current is %q", got)
	}
	if len(s.Superseded()) > 0 {
		t.Error("a version was made")
	}
}

// The same bytes are no new version for anybody who watches, yet the version that they were published under last is known.
func TestTheSameBytesMakeNoVersionAndNoEvent(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	f := config("config.a")
	first := commit(t, s, f, 1, "same")
	for _, order := range []registry.Order{1, 7} {
		e := commit(t, s, f, order, "same")
		if e.Stamp != first.Stamp || e.Order != order {
			t.Errorf("order %d: %+v", order, e)
		}
	}
	s = reopen(t, s, Options{})
	e, _ := s.Current(f)
	if e.Stamp != first.Stamp || e.Order != 7 || e.Version != registry.NextVersion(time.Unix(0, 7), "") {
		t.Errorf("after a restart: %+v", e)
	}
	if got := commit(t, s, f, 3, "old"); got != e {
		t.Errorf("an older state replaced it: %+v", got)
	}
	if len(s.Superseded()) > 0 {
		t.Error("a version was made")
	}
}

// Stamps are node ids of the kernel: never twice the same, and never backwards, whatever the clock does.
func TestStampsGrowOverRestartsAndClockSteps(t *testing.T) {
	clock := time.Unix(1800000000, 0)
	o := Options{now: func() time.Time { return clock }}
	s := openAt(t, scratch(t), o)
	f := config("config.a")
	last := Stamp(0)
	for n, days := range []int{0, 1, -1, 0, -60 * 365, 150 * 365, -1, 200 * 365, -500 * 365} {
		clock = clock.AddDate(0, 0, days)
		e := commit(t, s, f, registry.Order(n), fmt.Sprint(n))
		if e.Stamp <= last || e.Stamp < 1<<32 || e.Stamp >= 1<<62 {
			t.Errorf("stamp %d after %d, the clock saying %v", e.Stamp, last, clock)
		}
		last = e.Stamp
		// Even when nothing is left of the version that had the largest stamp.
		if err := s.Remove(f); err != nil {
			t.Fatal(err)
		}
		for _, old := range s.Superseded() {
			if err := s.Drop(old.Stamp); err != nil {
				t.Fatal(err)
			}
		}
		if err := rewrite(s); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s, o)
	}
}

// rewrite the journal now.
func rewrite(s *Store) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.checkpoint()
}

// Many workers commit the same and different files at once: every one is answered, and the newest state wins everywhere.
func TestManyWorkersCommitAtOnce(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	const workers, rounds = 16, 25
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for n := 1; n <= rounds; n++ {
				order := registry.Order(n*workers + w)
				both := []Commit{
					{File: config("config.shared"), Order: order, Body: fmt.Appendf(nil, "%d", order)},
					{File: config(fmt.Sprintf("config.own%d", w)), Order: order, Body: fmt.Appendf(nil, "%d", order)},
				}
				entries, err := s.Commit(both...)
				if err != nil || entries[0].Order < order || entries[1].Order != order {
					t.Errorf("commit %d: %+v %v", order, entries, err)
				}
			}
		})
	}
	all.Wait()
	for range 2 {
		if got, want := current(t, s, config("config.shared")), fmt.Sprint(rounds*workers+workers-1); got != want {
			t.Errorf("shared is %s, not %s", got, want)
		}
		for w := range workers {
			if got, want := current(t, s, config(fmt.Sprintf("config.own%d", w))), fmt.Sprint(rounds*workers+w); got != want {
				t.Errorf("own of %d is %s, not %s", w, got, want)
			}
		}
		state(t, s)
		s = reopen(t, s, Options{})
		<-s.repaired
	}
	checkTidy(t, s)
}

// While the disk hangs in the middle of a commit, nobody who reads or announces waits for it.
func TestReadersNeverWaitForTheDisk(t *testing.T) {
	reached, release := make(chan step), make(chan struct{})
	var armed bool
	s := openAt(t, scratch(t), Options{step: func(at step) {
		if armed {
			reached <- at
			<-release
		}
	}})
	f := config("config.a")
	old := commit(t, s, f, 1, "old")
	one := commit(t, s, f, 2, "one")
	<-s.repaired
	armed = true
	var writer sync.WaitGroup
	writer.Go(func() { commit(t, s, f, 3, "two") })
	look := func() {
		s.Current(f)
		s.ByStamp(one.Stamp)
		s.List(registry.Config)
		s.Superseded()
		s.SupersededOf(f)
		s.Expired()
		s.Damaged()
		s.Unannounced()
		s.Removed()
		s.LastAnnounced(f)
		s.Graph()
		s.AnnouncedGraph()
		s.Announced(one.Stamp)
		s.GraphAnnounced(s.Graph())
		if got := body(t, s, one.Stamp) + body(t, s, old.Stamp); got != "oneold" {
			t.Errorf("bodies: %q", got)
		}
	}
	steps := 0
	for waiting := true; waiting; steps++ {
		at := <-reached
		looked := make(chan struct{})
		go func() { defer close(looked); look() }()
		select {
		case <-looked:
		case <-time.After(10 * time.Second):
			t.Fatalf("readers wait while a commit is at %q", at)
		}
		release <- struct{}{}
		waiting = at != stepPlain
	}
	armed = false
	writer.Wait()
	if steps < 6 {
		t.Errorf("the commit took %d steps", steps)
	}
	if got := current(t, s, f); got != "two" {
		t.Errorf("current is %q", got)
	}
	eventually(t, func() bool { // what was announced meanwhile is in the journal
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.heard) == 0
	})
	s = reopen(t, s, Options{})
	if got := s.LastAnnounced(f); got != one.Stamp {
		t.Errorf("last announced is %s, not %s", got, one.Stamp)
	}
}

// Commits that wait for the disk share one wait.
func TestWaitingCommitsShareOneWaitForTheDisk(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	journaled, armed := 0, false
	s := openAt(t, scratch(t), Options{step: func(at step) {
		mu.Lock()
		first := armed && at == stepAppended
		if at == stepAppended {
			journaled++
			armed = false
		}
		mu.Unlock()
		if first {
			close(reached)
			<-release
		}
	}})
	mu.Lock()
	armed = true
	mu.Unlock()
	var all sync.WaitGroup
	all.Go(func() { commit(t, s, config("config.first"), 1, "x") })
	<-reached
	const more = 50
	for i := range more {
		all.Go(func() { commit(t, s, config(fmt.Sprintf("config.n%d", i)), 1, "x") })
	}
	eventually(t, func() bool {
		s.waiting.Lock()
		defer s.waiting.Unlock()
		return len(s.waiting.requests) == more
	})
	close(release)
	all.Wait()
	if journaled != 2 {
		t.Errorf("the journal was made durable %d times for %d commits", journaled, more+1)
	}
	if got := len(s.List(registry.Config)); got != more+1 {
		t.Errorf("%d files", got)
	}
}

// What is committed and removed at once leaves nothing behind.
func TestAFileThatComesAndGoesInOneBatch(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	f := config("config.a")
	var all sync.WaitGroup
	waiting := func(n int) {
		eventually(t, func() bool {
			s.waiting.Lock()
			defer s.waiting.Unlock()
			return len(s.waiting.requests) == n
		})
	}
	s.writing.Lock()
	all.Go(func() { commit(t, s, f, 1, "x") })
	waiting(1)
	all.Go(func() {
		if err := s.Remove(f); err != nil {
			t.Error(err)
		}
	})
	waiting(2)
	s.writing.Unlock()
	all.Wait()
	if _, ok := s.Current(f); ok {
		t.Error("it is there")
	}
	if left, _ := os.ReadDir(s.dir.path("stage")); len(left) > 0 {
		t.Errorf("left in stage: %v", left)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		runtime.Gosched()
	}
}

func TestAClosedStoreRefusesWritesAndEndsFeeds(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	f := config("config.a")
	e := commit(t, s, f, 1, "x")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range s.Changes(t.Context()) {
		}
		for range s.Repairs(t.Context()) {
		}
	}()
	s.Close()
	<-ended
	if _, err := s.Commit(Commit{File: f, Body: []byte("y")}); err == nil {
		t.Error("committed")
	}
	if err := s.SetGraph(nil); err == nil {
		t.Error("set the graph")
	}
	s.Announced(e.Stamp)
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
