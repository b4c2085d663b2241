package mirror

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Promise 1: a machine that boots with everything down serves its last good state.
func TestRestartWithTheRegistryAwayIsReadyFromDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		w.must(w.reg.Create(w.Context(), ham.Metaconfig()))
		w.must(w.reg.Link(w.Context(), web, registry.Edge(ham))) // dangles
		defer w.join(user, "10.0.0.1:80")()
		w.put(spam, "casino")
		w.put(registry.DeciderName, `{"new_ranker": 10}`)
		m := w.boot("a", follows(web))
		w.must(m.Ready())
		m.halt()

		m = w.assemble("a", follows(web))
		plug := m.wire.unplug()
		w.must(m.Ready()) // before anything runs
		m.run()
		w.passes(time.Hour)
		w.must(m.Ready())
		m.has("config/"+string(spam), "casino")
		m.has("serverset/"+string(user), "10.0.0.1:80\n")
		m.has("decider/new_ranker", "10\n")
		m.lists(web, registry.Edge(spam), registry.Edge(user))
		m.isIn(spam, Current)
		w.is(m.Writable(), registry.ErrUnreachable)
		m.said(1, "registry is away")

		w.put(spam, "roulette")
		m.has("config/"+string(spam), "casino")
		plug()
		m.has("config/"+string(spam), "roulette")
		w.must(m.Writable())
		m.said(1, "registry is back", "after=1h")
	})
}

func TestFirstBootWithTheRegistryAwayIsNotReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.assemble("a", follows(web))
		plug := m.wire.unplug()
		m.run()
		synctest.Wait()
		err := m.Ready()
		if err == nil || !strings.Contains(err.Error(), "what is in web.dep") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("ready: %v, want what is missing and why", err)
		}
		plug()
		m.has("config/"+string(spam), "casino")
		w.must(m.Ready())
		m.said(1, "msg=ready")
	})
}

func TestFirstBootWithTheBodiesAwayIsNotReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		w.put(spam, "casino")
		m := w.assemble("a", follows(web))
		m.wire.fetch = func(string) error { return errCut }
		m.run()
		synctest.Wait()
		err := m.Ready()
		if err == nil || !strings.Contains(err.Error(), "1 of 2 names") || !strings.Contains(err.Error(), string(spam)) {
			t.Errorf("ready: %v, want a word about %s", err, spam)
		}
		w.is(m.Writable(), registry.ErrUnreachable)
		m.has("config/"+string(ham), "") // what needs no body is here
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.passes(time.Minute) // the store is asked, in its turn, whether it is back
		m.has("config/"+string(spam), "casino")
		w.must(m.Ready())
		w.must(m.Writable())
		m.said(1, "store of bodies is away")
		m.said(1, "store of bodies is back")
	})
}

// Between the word that a dependency holds a name and the start of following it, there is nothing that is not here yet.
func TestNobodyIsReadyBeforeItsNamesAreFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.assemble("a", follows(web))
		m.hearEdges(m.dependencies[registry.BaseDependency], registry.Edges{})
		m.hearEdges(m.dependencies[web], registry.Edges{Exists: true, Order: 1, Members: []registry.Edge{registry.Edge(spam)}})
		if m.Ready() == nil {
			t.Error("ready with nothing on disk")
		}
	})
}

// Two names may be brought home at the same moment, the last of all: one of them has to notice that nothing is missing any more.
func TestThatEverythingIsHereIsNoticedThoughNobodyAsks(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		for i := range 30 {
			m := w.boot(fmt.Sprint("m", i), follows(web))
			m.said(1, "msg=ready")
			m.halt()
		}
	})
}

func TestWhoIsReadyStaysReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		w.put(ham, "mother")
		w.make(web, ham)
		w.must(m.Ready())
		m.isIn(ham, Pending, "refused")
	})
}

// While the registry is away nobody can say that another root dependency does not hold the name too.
func TestNothingLeavesBeforeTheRegistryHasSpoken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, spam)
		w.make(web, ham)
		w.put(spam, "casino")
		w.put(ham, "mother")
		m := w.boot("a", follows(web))
		m.halt()
		m = w.assemble("a", follows(api)) // told to follow something else
		m.wire.unplug()
		m.run()
		w.passes(24 * time.Hour)
		m.has("config/"+string(spam), "casino")
		m.has("config/"+string(ham), "mother")
		m.halt()
		m = w.assemble("a", follows(api)) // and once more
		plug := m.wire.unplug()
		m.run()
		w.passes(24 * time.Hour)
		m.has("config/"+string(ham), "mother")
		plug()
		w.passes(2 * time.Minute)
		m.has("config/"+string(spam), "casino")
		m.hasNot("config/" + string(ham))
		m.lists(api, registry.Edge(spam))
	})
}

func TestWriterIsNotLetInBeforeTheRegistryAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.assemble("a", Options{})
		w.is(m.Writable(), registry.ErrUnreachable)
		m.run()
		synctest.Wait()
		w.must(m.Writable())
	})
}

// A thousand names that fail together are one line, and are tried again when the first of them is answered.
func TestOutageIsOneLine(t *testing.T) {
	inWorld(t, func(w *world) {
		names := make([]registry.Name, 50)
		for i := range names {
			names[i] = registry.Name("config.manageddata.many.n" + string(rune('a'+i/26)) + string(rune('a'+i%26)))
		}
		w.make(web, names...)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		for _, name := range names {
			w.put(name, "x")
		}
		w.passes(time.Hour)
		m.said(1, "level=WARN")
		if n := len(m.wire.fetched); n > 50+400 { // once each, and one that asks for all
			t.Errorf("fetched %d times in an hour of outage", n)
		}
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.passes(lastBackoff + time.Second)
		for _, name := range names {
			m.has("config/"+string(name), "x")
		}
	})
}

// Nobody waits for his own backoff when somebody else was answered.
func TestFirstAnswerAfterAnOutageWakesAll(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		w.put(spam, "casino")
		w.put(ham, "mother")
		w.passes(10 * time.Minute)
		m.isIn(ham, Stale)
		m.wire.set(func(c *wire) { c.fetch = nil })
		m.Refresh(spam)
		m.has("config/"+string(spam), "casino")
		m.has("config/"+string(ham), "mother")
	})
}

func TestBodyThatTakesTooLongIsNoOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		version := registry.NextVersion(time.Now(), "") // what the next put makes
		m.wire.set(func(c *wire) {
			c.fetch = func(key string) error {
				if key != spam.Pointer().Key(version) {
					return nil
				}
				<-time.After(m.o.FetchTimeout)
				return context.DeadlineExceeded
			}
		})
		if got := w.put(spam, "huge"); got != version {
			t.Fatalf("version %s, want %s", got, version)
		}
		w.passes(10 * time.Minute)
		m.isIn(spam, Stale, "timed out")
		w.must(m.Writable())
		m.said(0, "is away")
	})
}

// A store that swallows every request, as behind a firewall.
func TestStoreThatNeverAnswersIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) {
			c.fetch = func(string) error {
				<-time.After(time.Minute)
				return context.DeadlineExceeded
			}
		})
		w.put(spam, "casino")
		w.passes(5 * time.Minute)
		w.is(m.Writable(), registry.ErrUnreachable)
		m.said(1, "store of bodies is away")
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.passes(3 * time.Minute)
		w.must(m.Writable())
		m.has("config/"+string(spam), "casino")
	})
}

// Of an outage that lasted seconds nothing is left seconds after its end: what was published just before it, and could not be brought
// home, is here within five.
func TestAfterAnOutageOfSecondsAMachineAgreesWithinSeconds(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		inWorld(t, func(w *world) {
			w.make(web, spam)
			w.put(spam, "casino")
			m := w.boot("a", follows(web))
			m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
			w.put(spam, "roulette")
			w.passes(outage)
			m.has("config/"+string(spam), "casino")
			m.wire.set(func(c *wire) { c.fetch = nil })
			w.passes(5 * time.Second)
			m.has("config/"+string(spam), "roulette")
			w.must(m.Writable())
		})
	}
}
