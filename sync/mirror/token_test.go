package mirror

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// inFuture makes a version current that a clock which was a year ahead has published.
func (w *world) inFuture(name registry.Name, content string) registry.Version {
	w.Helper()
	state, err := w.reg.State(w.Context(), name.Pointer())
	w.must(err)
	future := registry.NextVersion(time.Now().Add(365*24*time.Hour), state.Version)
	w.must(w.reg.Put(w.Context(), name.Pointer().Key(future), registry.Body{Data: []byte(content)}))
	_, err = w.reg.Advance(w.Context(), name.Pointer(), state.Version, future, nil)
	w.must(err)
	return future
}

// together has every machine publish at the same instant of the bubble's clock, so that all find the same time, and the same present
// version.
func together(machines []*machine, p func(i int) Publication) (versions []registry.Version, errs []error) {
	versions, errs = make([]registry.Version, len(machines)), make([]error, len(machines))
	var writers sync.WaitGroup
	for i, m := range machines {
		writers.Go(func() {
			e, err := m.Publish(m.w.Context(), p(i))
			versions[i], errs[i] = e.Version, err
		})
	}
	writers.Wait()
	return versions, errs
}

// Publishers who come in the same nanosecond, or after a version from the future, whose successor is the same for all: each gets a
// version of his own, none is lost, and none holds the bytes of another.
func TestPublishersWithTheSameClockMakeVersionsOfTheirOwn(t *testing.T) {
	for _, future := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.make(web, spam)
			w.put(spam, "first")
			if future {
				w.inFuture(spam, "a year ahead")
			}
			machines := []*machine{w.boot("a", follows(web)), w.boot("b", follows(web)), w.boot("c", follows(web))}
			for round := range 10 {
				content := func(i int) string { return fmt.Sprint("round ", round, " by ", i) }
				versions, errs := together(machines, func(i int) Publication { return write(spam, content(i)) })
				last := registry.Version("")
				for i, v := range versions {
					w.must(errs[i])
					body, err := w.reg.Fetch(w.Context(), spam.Pointer().Key(v))
					w.must(err)
					if string(body.Data) != content(i) {
						t.Fatalf("version %s is %q, and %d was told that it is his", v, body.Data, i)
					}
					last = max(last, v) // of one length
				}
				state, err := w.reg.State(w.Context(), spam.Pointer())
				w.must(err)
				if state.Version != last {
					t.Errorf("%s is current, the latest is %s of %v", state.Version, last, versions)
				}
				body, err := w.reg.Fetch(w.Context(), spam.Pointer().Key(last))
				w.must(err)
				for _, m := range machines {
					m.has("config/"+string(spam), string(body.Data))
				}
			}
		})
	}
}

// Two who add one to the same number at the same time write the same bytes: one of them has to be told that he lost.
func TestOfTwoWhoCompareWithTheSameBytesOneHasLost(t *testing.T) {
	for _, future := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.make(web, spam)
			base := w.put(spam, "41")
			if future {
				base = w.inFuture(spam, "41")
			}
			machines := []*machine{w.boot("a", follows(web)), w.boot("b", follows(web))}
			p := write(spam, "42")
			p.Base, p.CompareAndSet = base, true
			_, errs := together(machines, func(int) Publication { return p })
			if errs[0] != nil {
				errs[0], errs[1] = errs[1], errs[0]
			}
			w.must(errs[0])
			w.is(errs[1], registry.ErrConflict)
		})
	}
}

// The registry does not answer any more, and says that it was asked for nothing yet: the writer hears that nothing was published, and
// not that nobody knows.
func TestARegistryThatWentSilentBeforeItWasAskedHasPublishedNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) {
			c.advance = func(func() (registry.State, error)) (registry.State, error) {
				c.set(func(c *wire) { c.silent = true })
				return registry.State{}, fmt.Errorf("the lock was not to be had: %w", registry.ErrTimeout)
			}
		})
		started := time.Now()
		_, err := m.Publish(w.Context(), write(spam, "roulette"))
		w.is(err, registry.ErrTimeout)
		if errors.Is(err, registry.ErrUnknown) || time.Since(started) > time.Second {
			t.Errorf("after %s: %v", time.Since(started), err)
		}
		m.has("config/"+string(spam), "casino")
	})
}
