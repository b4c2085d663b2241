package mirror

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestMachineFollowsItsDependencies(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(api, ham)
		w.make(web, spam, user)
		w.make(registry.BaseDependency, "config.base.limits")
		w.must(w.reg.Link(w.Context(), web, registry.Edge(api)))
		w.put(spam, "casino")
		w.put("config.base.limits", "10")
		w.put("config.manageddata.other.thing", "nobody wants me")

		m := w.boot("a", follows(web))

		m.has("config/"+string(spam), "casino")
		m.has("config/"+string(ham), "") // never written
		m.has("config/config.base.limits", "10")
		m.has("serverset/"+string(user), "")
		m.hasNot("config/config.manageddata.other.thing")
		m.lists(web, registry.Edge(api), registry.Edge(spam), registry.Edge(user))
		m.lists(api, registry.Edge(ham))
		m.lists(registry.BaseDependency, "config.base.limits")
		w.must(m.Ready())
	})
}

func TestChangeElsewhereArrives(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		for _, content := range []string{"one", "two", "", "three"} {
			version := w.put(spam, content)
			m.has("config/"+string(spam), content)
			e, _ := m.entry("config/" + string(spam))
			if e.Version != version {
				t.Errorf("version is %s, want %s", e.Version, version)
			}
			if published, _ := version.Time(); !e.Published.Equal(published) {
				t.Errorf("published %s, want what the token says: %s", e.Published, published)
			}
		}
		m.said(4, "level=INFO", "msg=updated", string(spam))
		if s, _ := m.Status(spam); !slices.Equal(s.Dependencies, []registry.Dependency{web}) {
			t.Errorf("held by %v, want web.dep", s.Dependencies)
		}
	})
}

func TestCircleOfDependenciesIsFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, ham)
		w.must(w.reg.Link(w.Context(), web, registry.Edge(api)))
		w.must(w.reg.Link(w.Context(), api, registry.Edge(web)))
		w.must(w.reg.Link(w.Context(), api, registry.Edge(api)))
		m := w.boot("a", follows(web))
		m.has("config/"+string(spam), "")
		m.has("config/"+string(ham), "")
		m.lists(api, registry.Edge(api), registry.Edge(ham), registry.Edge(web))
	})
}

func TestSubscriptionsChangeWithoutRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", Options{Dependencies: []registry.Dependency{web}, Grace: time.Minute})
		m.hasNot("config/" + string(ham))

		w.make(web, ham)
		w.put(ham, "mother")
		m.has("config/"+string(ham), "mother")

		w.make(registry.BaseDependency, "config.base.limits") // the fleet gets its first base.dep
		m.has("config/config.base.limits", "")

		w.must(w.reg.Unlink(w.Context(), web, registry.Edge(spam)))
		m.lists(web, registry.Edge(ham))
		m.has("config/"+string(spam), "casino") // for its grace
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "roulette") // and up to date
		w.passes(time.Minute + time.Second)
		m.hasNot("config/" + string(spam))
		if _, ok := m.Status(spam); ok {
			t.Error("a name that left is still followed")
		}

		w.must(w.reg.Link(w.Context(), web, registry.Edge(spam)))
		m.has("config/"+string(spam), "roulette")
	})
}

func TestNameThatComesBackDuringItsGraceStays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		before, _ := m.entry("config/" + string(spam))
		w.must(w.reg.Unlink(w.Context(), web, registry.Edge(spam)))
		w.passes(50 * time.Second)
		w.must(w.reg.Link(w.Context(), web, registry.Edge(spam)))
		w.passes(2 * time.Minute)
		after, _ := m.entry("config/" + string(spam))
		if after.Stamp != before.Stamp {
			t.Error("the file was made anew, want it untouched")
		}
		if n := m.Stats().Leaving; n != 0 {
			t.Errorf("%d names are leaving, want none", n)
		}
		w.must(w.reg.Unlink(w.Context(), web, registry.Edge(spam)))
		w.passes(50 * time.Second)
		m.has("config/"+string(spam), "casino") // it has a whole grace again
	})
}

func TestUnsubscribedWhileDownLeavesAfterTheRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		m := w.boot("a", follows(web))
		m.halt()
		w.must(w.reg.Unlink(w.Context(), web, registry.Edge(ham)))
		m = w.boot("a", follows(web))
		m.has("config/"+string(ham), "")
		w.passes(2 * time.Minute)
		m.hasNot("config/" + string(ham))
		m.has("config/"+string(spam), "")
	})
}

func TestEdgeThatDanglesIsSkippedUntilTheNameExists(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.must(w.reg.Create(w.Context(), ham.Metaconfig())) // the old tools make the node last
		w.must(w.reg.Link(w.Context(), web, registry.Edge(ham)))
		m := w.boot("a", follows(web))
		w.must(m.Ready())
		m.isIn(ham, Missing, "no such name")
		m.lists(web, registry.Edge(spam))
		if n := m.Stats().Missing; n != 1 {
			t.Errorf("%d names are missing, want 1", n)
		}
		m.Refresh()
		m.said(1, "skipped", string(ham))

		w.must(w.reg.Create(w.Context(), ham.Pointer()))
		m.has("config/"+string(ham), "")
		m.lists(web, registry.Edge(ham), registry.Edge(spam))
	})
}

func TestEdgeThatIsNoNameIsSkipped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.assemble("a", follows(web))
		m.wire.edges = func(d registry.Dependency, e registry.Edges) registry.Edges {
			if d == web {
				e.Members = append(e.Members, "../../etc/passwd", "config.x'; touch x #", "", "nonsense")
			}
			return e
		}
		m.run()
		m.has("config/"+string(spam), "")
		m.lists(web, registry.Edge(spam))
		m.Refresh()
		w.passes(2 * time.Hour) // audits
		m.said(1, "skipped", "passwd")
		if n := m.Stats().BadEdges; n != 4 {
			t.Errorf("%d bad edges, want 4", n)
		}
		w.must(m.Ready())
	})
}

func TestNestedDependencyThatDoesNotExistIsSkipped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.assemble("a", follows(web))
		m.wire.edges = func(d registry.Dependency, e registry.Edges) registry.Edges {
			if d == web {
				e.Members = append(e.Members, "gone.dep")
			}
			return e
		}
		m.run()
		m.lists(web, registry.Edge(spam))
		m.said(1, "skipped", "gone.dep")
		w.must(m.Ready())
	})
}

func TestMissingRootIsMadeWhereThatIsAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.boot("a", follows(web))
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "no dependency web.dep") {
			t.Errorf("ready: %v, want a word about web.dep", err)
		}
		m.said(1, "no such dependency", "web.dep")
		other := w.boot("b", Options{Dependencies: []registry.Dependency{web}, Create: true})
		w.must(other.Ready())
		other.lists(web)
		m.lists(web) // and the first machine learns of it
		w.must(m.Ready())
	})
}

// Promise 6: what is wrong is held, not spread.
// Promise 6.
// Promise 6.
// Promise 6, for the smallest serverset there is.
// Promise 7: a failed update is retried until it is applied.
func TestFailedFetchIsRetried(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		broken := errors.New("500 internal error")
		var tries []time.Time
		m.wire.set(func(c *wire) {
			c.fetch = func(string) error { tries = append(tries, time.Now()); return broken }
		})
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "casino")
		m.isIn(spam, Stale, "500 internal error")
		w.passes(10 * time.Minute)
		if s := m.Stats(); s.Stale != 1 || s.Behind < 10*time.Minute {
			t.Errorf("%d stale for %s, want 1 for ten minutes", s.Stale, s.Behind)
		}
		if len(tries) < 25 || len(tries) > 120 {
			t.Errorf("%d tries in ten minutes", len(tries))
		}
		for i := 1; i < len(tries); i++ {
			if gap := tries[i].Sub(tries[i-1]); gap > lastBackoff+time.Second {
				t.Errorf("%s between two tries, want at most %s", gap, lastBackoff)
			}
		}
		m.said(1, "not up to date", string(spam))

		// A new word is acted on at once, whatever the backoff says.
		m.wire.set(func(c *wire) { c.fetch = nil })
		w.put(spam, "poker")
		m.has("config/"+string(spam), "poker")
		m.isIn(spam, Current)
		if s := m.Stats(); s.Stale != 0 || s.Behind != 0 {
			t.Errorf("%d stale for %s, want none", s.Stale, s.Behind)
		}
	})
}

// The body that cannot be had may belong to a version that nobody wants any more.
func TestRetryAsksWhatIsCurrentByNow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		lost := w.put(spam, "lost")
		m := w.assemble("a", Options{Dependencies: []registry.Dependency{web}, Audit: 24 * time.Hour})
		m.wire.deaf = true
		m.wire.fetch = func(key string) error {
			if key == spam.Pointer().Key(lost) {
				return registry.ErrNotExist
			}
			return nil
		}
		m.run()
		m.isIn(spam, Pending, "not in the store")
		m.said(1, "level=WARN", "not up to date", string(spam))
		w.put(spam, "found")
		w.passes(time.Minute)
		m.has("config/"+string(spam), "found")
	})
}

func TestRefreshDoesNotWaitForTheBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errors.New("no") } })
		w.put(spam, "casino")
		w.passes(10 * time.Minute)
		m.wire.set(func(c *wire) { c.fetch = nil })
		m.Refresh(spam)
		m.has("config/"+string(spam), "casino")
	})
}

// Promise 6: a body that is not what its publisher stored.
// Promise 7: never keyed on having seen an event.
func TestAuditFindsWhatADeafFeedMissed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		m := w.assemble("a", follows(web))
		m.wire.deaf = true
		m.run()
		m.has("config/"+string(spam), "")
		w.put(spam, "casino")
		defer w.join(user, "10.0.0.1:80")()
		w.make(web, ham)
		m.has("config/"+string(spam), "")
		w.passes(3 * time.Hour)
		m.has("config/"+string(spam), "casino")
		m.has("serverset/"+string(user), "10.0.0.1:80\n")
		m.has("config/"+string(ham), "")
		if n := m.Stats().Audits; n == 0 {
			t.Error("no audit was completed")
		}
	})
}

// An audit of more names than it has steps asks about several in one, and about each.
func TestAuditOfManyNamesAsksAboutEach(t *testing.T) {
	inWorld(t, func(w *world) {
		var names []registry.Name
		for i := range 41 {
			names = append(names, registry.Name(fmt.Sprintf("config.manageddata.many.number%d", i)))
		}
		w.make(web, names...)
		m := w.assemble("a", Options{Dependencies: []registry.Dependency{web}, Audit: 4 * auditStep})
		m.wire.deaf = true
		m.run()
		m.has("config/"+string(names[0]), "")
		for _, name := range names {
			w.put(name, string(name))
		}
		w.passes(20 * auditStep)
		for _, name := range names {
			m.has("config/"+string(name), string(name))
		}
	})
}

func TestNothingIsFetchedTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		w.put(spam, "casino")
		w.put(ham, "mother")
		m := w.boot("a", follows(web))
		m.halt()
		m = w.boot("a", follows(web))
		m.Refresh()
		synctest.Wait()
		if len(m.wire.fetched) != 0 {
			t.Errorf("fetched %v after a restart with everything here", m.wire.fetched)
		}
	})
}
