package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// errLost is what a registry says that has lost the connection to its server in between.
var errLost = fmt.Errorf("%w: connection reset by peer: %w", registry.ErrUnknown, registry.ErrUnreachable)

func TestLostAnswerIsFoundOut(t *testing.T) {
	type advance = func(w *world, call func() (registry.State, error)) (registry.State, error)
	lostBefore := func(*world, func() (registry.State, error)) (registry.State, error) { return registry.State{}, errLost }
	lostAfter := func(_ *world, call func() (registry.State, error)) (registry.State, error) {
		_, _ = call()
		return registry.State{}, errLost
	}
	straight := func(_ *world, call func() (registry.State, error)) (registry.State, error) { return call() }
	rival := func(w *world, _ func() (registry.State, error)) (registry.State, error) {
		w.put(spam, "rival")
		return registry.State{}, errLost
	}
	var late func() (registry.State, error)
	arrivesLate := func(_ *world, call func() (registry.State, error)) (registry.State, error) {
		late = call
		return registry.State{}, errLost
	}
	afterTheLate := func(_ *world, call func() (registry.State, error)) (registry.State, error) {
		_, _ = late()
		return call()
	}
	for name, test := range map[string]struct {
		advances []advance
		err      error
		content  string
	}{
		"after it moved":            {[]advance{lostAfter}, nil, "mine"},
		"before it moved":           {[]advance{lostBefore, straight}, nil, "mine"},
		"twice":                     {[]advance{lostBefore, lostAfter}, nil, "mine"},
		"and it moves all the same": {[]advance{arrivesLate, afterTheLate}, nil, "mine"},
		"and somebody else wrote":   {[]advance{rival}, registry.ErrUnknown, "rival"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.make(web, spam)
				m := w.boot("a", follows(web))
				n := 0
				m.wire.set(func(c *wire) {
					c.advance = func(call func() (registry.State, error)) (registry.State, error) {
						n++
						return test.advances[n-1](w, call)
					}
				})
				p := write(spam, "mine")
				p.Origin = 7
				e, err := m.Publish(w.Context(), p)
				if test.err == nil {
					w.must(err)
					if e.Origin != 7 || m.Stats().Publications.OK != 1 {
						t.Errorf("not known to be its own: %+v", e)
					}
				}
				w.is(err, test.err)
				m.has("config/"+string(spam), test.content)
				if n != len(test.advances) {
					t.Errorf("%d advances, want %d", n, len(test.advances))
				}
			})
		})
	}
}

func TestOutcomeThatCannotBeKnownIsUnknown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		var plug func()
		m.wire.set(func(c *wire) {
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				_, _ = call()
				plug = m.wire.unplug()
				return registry.State{}, errLost
			}
		})
		started := time.Now()
		_, err := m.Publish(w.Context(), write(spam, "mine"))
		w.is(err, registry.ErrUnknown)
		if took := time.Since(started); took > m.o.PublishTimeout {
			t.Errorf("took %s, its deadline is %s", took, m.o.PublishTimeout)
		}
		plug()
		m.has("config/"+string(spam), "mine") // the watch brings it home
	})
}

func TestInterruptedWriterLearnsWhatCameOfIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		ctx, interrupt := context.WithCancel(w.Context())
		m.wire.set(func(c *wire) {
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				_, _ = call()
				interrupt()
				return registry.State{}, ctx.Err()
			}
		})
		_, err := m.Publish(ctx, write(spam, "mine"))
		w.must(err)
		m.has("config/"+string(spam), "mine")
	})
}

func TestPublicationHasADeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		stuck := make(chan struct{})
		m.wire.set(func(c *wire) {
			c.put = func(string) error { <-stuck; return errors.New("too late") }
		})
		// One is stuck in the store, the other behind it at the lock.
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := m.Publish(w.Context(), write(spam, "mine")); err == nil {
				t.Error("a stuck publication succeeded")
			}
		})
		synctest.Wait()
		started := time.Now()
		_, err := m.Publish(w.Context(), write(spam, "mine too"))
		w.is(err, registry.ErrTimeout)
		if took := time.Since(started); took > m.o.PublishTimeout {
			t.Errorf("took %s, want %s at most", took, m.o.PublishTimeout)
		}
		if !strings.Contains(err.Error(), "another publication") {
			t.Errorf("error %q does not say what it waited for", err)
		}
		close(stuck)
		both.Wait()
		m.has("config/"+string(spam), "")
	})
}

func TestIndexThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.index = func() error { return errCut } })
		version := m.publish(write(spam, "casino"))
		m.wire.set(func(c *wire) { c.index = nil })
		if n := m.Stats().Unindexed; n != 1 {
			t.Errorf("%d indexes are behind, want 1", n)
		}
		w.passes(3 * time.Hour)
		if index := m.wire.indexes[spam.Pointer().IndexKey()]; index != version {
			t.Errorf("index is %s, want %s", index, version)
		}
		if n := m.Stats().Unindexed; n != 0 {
			t.Errorf("%d indexes are behind, want none", n)
		}
	})
}
