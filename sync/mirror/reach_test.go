package mirror

import (
	"context"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// A store of bodies went away, and nobody has noticed because nobody has fetched anything: the first writer is told when he opens.
func TestTheFirstWriterAfterTheBodiesWentAwayIsToldBeforehand(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		w.passes(time.Minute)
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		w.must(m.Writable())
		w.is(m.Reach(), registry.ErrUnreachable)
		w.is(m.Writable(), registry.ErrUnreachable)

		w.passes(10 * time.Minute) // until it is asked seldom
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.must(m.Reach())
		w.must(m.Writable())
	})
}

// Nobody answers at all: one writer finds out, and takes his time; the others are told at once.
func TestAStoreOfBodiesThatIsSilentKeepsWritersForAMoment(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		w.passes(time.Minute)
		m.wire.set(func(c *wire) {
			c.fetch = func(string) error {
				time.Sleep(reachTimeout)
				return context.DeadlineExceeded
			}
		})
		started := time.Now()
		results := make(chan error)
		for range 3 {
			go func() { results <- m.Reach() }()
		}
		for range 3 {
			w.is(<-results, registry.ErrUnreachable)
		}
		if took := time.Since(started); took != reachTimeout {
			w.Errorf("they waited %v, want %v", took, reachTimeout)
		}
		w.is(m.Reach(), registry.ErrUnreachable)
		if took := time.Since(started); took != reachTimeout {
			w.Errorf("the next one waited too, %v in all", took)
		}
	})
}

// Who has just been heard of is not asked.
func TestReachAsksNobodyWhoHasJustAnswered(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.boot("a", follows(web))
		w.passes(time.Minute)
		w.must(m.Reach())
		asked := 0
		m.wire.set(func(c *wire) { asked = c.probed })
		w.must(m.Reach())
		m.wire.set(func(c *wire) {
			if c.probed != asked || asked == 0 {
				w.Errorf("asked %d times, and then %d", asked, c.probed-asked)
			}
		})
	})
}

// The connection to the registry has just gone, and nobody has called in vain yet: the first writer is told when he opens, and the next
// ones do not wait.
func TestTheFirstWriterAfterTheConnectionWentIsToldBeforehand(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.boot("a", follows(web))
		w.passes(time.Minute)
		w.must(m.Reach())
		mend := m.wire.unplug()
		defer mend()
		m.wire.set(func(c *wire) { c.gone = true })
		w.is(m.Reach(), registry.ErrUnreachable)
		started := time.Now()
		w.is(m.Reach(), registry.ErrUnreachable)
		if took := time.Since(started); took != 0 {
			w.Errorf("the next one waited %v", took)
		}
	})
}

// Of a store of bodies that has said nothing since the start nobody is told that it is there; the first answer says so, though nobody
// has anything to fetch or to store.
func TestAStoreThatWasNotHeardOfIsNotSaidToBeThere(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.assemble("a", follows(web))
		if s := m.Stats(); s.Bodies == "" || s.Registry == "" {
			t.Errorf("before anybody was asked: %+v", s)
		}
		w.is(m.Writable(), registry.ErrUnreachable)
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		m.run()
		w.passes(time.Minute)
		if s := m.Stats(); s.Bodies == "" || s.Registry != "" {
			t.Errorf("without an answer of the store: %+v", s)
		}
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.passes(time.Minute)
		if s := m.Stats(); s.Bodies != "" {
			t.Errorf("with an answer: %s", s.Bodies)
		}
		w.must(m.Writable())
	})
}
