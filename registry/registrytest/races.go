package registrytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

const writers = 8

var raceTests = map[string]func(t *testing.T, a, b Registry){
	"of eight writers one wins":                   testRaceRounds,
	"writers who try again make one history":      testRaceHistory,
	"of eight who make a pointer one does":        testRaceCreate,
	"indexes are written one by one and in order": testRaceIndex,
	"writers of different names meet nobody":      testRaceApart,
}

// token is a version that no other writer uses.
func token(writer, n int) registry.Version {
	return registry.Version(fmt.Sprintf("17952961%02d.%09d", writer, n+1))
}

// race runs f for each writer at the same time; half of them use the one client, half the other.
func race(a, b Registry, f func(writer int, r Registry)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for w := range writers {
		r := a
		if w%2 == 1 {
			r = b
		}
		all.Go(func() {
			<-start
			f(w, r)
		})
	}
	close(start)
	all.Wait()
}

func testRaceRounds(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	var base registry.Version
	for round := range 10 {
		var mu sync.Mutex
		var winners []registry.State
		race(a, b, func(writer int, r Registry) {
			s, err := r.Advance(t.Context(), p, base, token(writer, round), nil)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				winners = append(winners, s)
			case !errors.Is(err, registry.ErrConflict):
				t.Errorf("round %d: writer %d: %v", round, writer, err)
			}
		})
		if len(winners) != 1 {
			t.Fatalf("round %d: %d won: %+v", round, len(winners), winners)
		}
		eventually(t, func() error {
			if s, err := a.State(t.Context(), p); err != nil || s != winners[0] {
				return fmt.Errorf("the pointer is %+v, %v, and the winner was told %+v", s, err, winners[0])
			}
			return nil
		})
		base = winners[0].Version
	}
}

// move is one Advance that succeeded.
type move struct {
	base          registry.Version
	state         registry.State
	asked, agreed time.Time
}

// testRaceHistory checks that the successes of a compare-and-set are linearizable: each starts where the one before it ended, and
// none comes before another that had returned when it was asked for.
func testRaceHistory(t *testing.T, a, b Registry) {
	const each = 10
	p := blacklist.Pointer()
	create(t, a, b, p)
	feed := watch(t, b, p)
	var mu sync.Mutex
	moves := make(map[registry.Version]move) // by base
	race(a, b, func(writer int, r Registry) {
		for n := 0; n < each; {
			present, err := r.State(t.Context(), p)
			if err != nil {
				t.Errorf("writer %d: %v", writer, err)
				return
			}
			m := move{base: present.Version, asked: time.Now()}
			m.state, err = r.Advance(t.Context(), p, m.base, token(writer, n), nil)
			m.agreed = time.Now()
			if errors.Is(err, registry.ErrConflict) {
				continue
			}
			if err != nil {
				t.Errorf("writer %d: %v", writer, err)
				return
			}
			n++
			mu.Lock()
			if other, taken := moves[m.base]; taken {
				t.Errorf("both %s and %s were published over %q", other.state.Version, m.state.Version, m.base)
			}
			moves[m.base] = m
			mu.Unlock()
		}
	})

	var last move
	for range writers * each {
		m, ok := moves[last.state.Version]
		if !ok {
			t.Fatalf("the history ends with %q", last.state.Version)
		}
		if m.state.Order <= last.state.Order {
			t.Errorf("order %d of %s after %d of %s", m.state.Order, m.state.Version, last.state.Order, last.state.Version)
		}
		if m.agreed.Before(last.asked) {
			t.Errorf("%s was published over %s before that was asked for", m.state.Version, m.base)
		}
		last = m
	}
	if got := feed.until(t, string(last.state.Version), func(s registry.State) bool { return s.Version == last.state.Version }); got != last.state {
		t.Errorf("the feed ended with %+v, the history with %+v", got, last.state)
	}
}

func testRaceCreate(t *testing.T, a, b Registry) {
	var made, makers atomic.Int32
	race(a, b, func(writer int, r Registry) {
		makers.Add(1)
		switch err := r.Create(t.Context(), blacklist.Pointer()); {
		case err == nil:
			made.Add(1)
		case !errors.Is(err, registry.ErrExist):
			t.Errorf("writer %d: %v", writer, err)
		}
	})
	if made.Load() != 1 {
		t.Errorf("%d of %d made it", made.Load(), makers.Load())
	}
}

func testRaceIndex(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	var running atomic.Int32
	var mu sync.Mutex // the registry is lock enough, but the race detector cannot see through a network
	var index registry.Version
	race(a, b, func(writer int, r Registry) {
		for n := 0; n < 3; {
			present, err := r.State(t.Context(), p)
			if err != nil {
				t.Errorf("writer %d: %v", writer, err)
				return
			}
			next := token(writer, n)
			_, err = r.Advance(t.Context(), p, present.Version, next, func(context.Context) error {
				if running.Add(1) != 1 {
					t.Error("two indexes of one pointer are being written")
				}
				defer running.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				if index != present.Version {
					t.Errorf("the index was %q when %s was published over %q", index, next, present.Version)
				}
				index = next
				return nil
			})
			switch {
			case err == nil:
				n++
			case !errors.Is(err, registry.ErrConflict):
				t.Errorf("writer %d: %v", writer, err)
				return
			}
		}
	})
	eventually(t, func() error {
		if s, err := a.State(t.Context(), p); err != nil || s.Version != index {
			return fmt.Errorf("the pointer is %+v, %v, the index %s", s, err, index)
		}
		return nil
	})
}

func testRaceApart(t *testing.T, a, b Registry) {
	name := func(writer int) registry.Pointer {
		return registry.Name(fmt.Sprintf("config.manageddata.race.writer%d", writer)).Pointer()
	}
	for w := range writers {
		create(t, a, b, name(w))
	}
	race(a, b, func(writer int, r Registry) {
		var base registry.Version
		for n := range 10 {
			next := token(writer, n)
			if _, err := r.Advance(t.Context(), name(writer), base, next, nil); err != nil {
				t.Errorf("writer %d, who has the name to himself: %v", writer, err)
				return
			}
			base = next
		}
	})
}
