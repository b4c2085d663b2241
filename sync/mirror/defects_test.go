package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The defects of the Python KingPin that a mirror could have too, by the numbers that the table in docs/defects.md gives them. Each test
// would fail on what the old monitor did.

// An empty or collapsed serverset was written out.
func TestD6ServersetThatCollapsesIsNotWrittenOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		leave, file := w.crowd(10)
		leave(6)
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Held, "shrunk to 4, was 10")
		leave(4)
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Held, "empty, was 10")
	})
}

// An outage of seconds ended the sessions of all registrars, and the serverset files with them.
func TestD7OutageOfAllRegistrarsEmptiesNoFile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		leave, file := w.crowd(10)
		m.has("serverset/"+string(user), file(0))
		before, _ := m.entry("serverset/" + string(user))
		leave(10)
		w.passes(46 * time.Second) // as long as the old registrars were away
		m.has("serverset/"+string(user), file(0))
		leave, _ = w.crowd(10) // the same endpoints again, under other nodes
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Current)
		if after, _ := m.entry("serverset/" + string(user)); after.Stamp != before.Stamp {
			t.Error("the file was written anew, though nothing has changed in the end")
		}
		leave(10)
	})
}

// After a short outage nobody listened to dependencies any more.
func TestD8SubscriptionsAreHeardAfterAnOutage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		for i := range 3 {
			plug := m.wire.unplug()
			m.Refresh()
			w.passes(10 * time.Second)
			plug()
			w.passes(10 * time.Second)
			name := registry.Name(fmt.Sprintf("config.manageddata.chaos.n%d", i))
			w.make(web, name)
			m.has("config/"+string(name), "")
			w.must(w.reg.Unlink(w.Context(), web, registry.Edge(name)))
			w.passes(2 * time.Minute)
			m.hasNot("config/" + string(name))
		}
	})
}

// One deleted serverset made the monitor deaf to all that came behind it.
func TestD9DeletedServersetDeafensNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		const first, last registry.Name = "discovery.aaa.prod", "discovery.zzz.prod"
		w.make(web, first, user, last)
		m := w.boot("a", follows(web))
		w.must(w.reg.Delete(w.Context(), first.Pointer()))
		plug := m.wire.unplug() // and it has to connect anew
		m.Refresh()
		w.passes(10 * time.Second)
		plug()
		w.passes(10 * time.Second)
		for _, name := range []registry.Name{user, last} {
			defer w.join(name, "10.0.0.1:80")()
			m.has("serverset/"+string(name), "10.0.0.1:80\n")
		}
		m.isIn(user, Current)
		m.isIn(last, Current)
	})
}

// A config whose node was deleted was never followed again, nor a dependency that was not there at the start.
func TestD10WhatIsMadeAnewIsFollowedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		w.put(spam, "casino")
		m := w.boot("a", follows(web, api))
		for _, name := range []registry.Name{spam, user} {
			w.must(w.reg.Delete(w.Context(), name.Pointer()))
			w.passes(time.Minute)
			m.isIn(name, map[registry.Name]Condition{spam: Held, user: Current}[name]) // of an empty file there is nothing to hold
			w.must(w.reg.Create(w.Context(), name.Pointer()))
		}
		w.passes(time.Second)
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "roulette")
		defer w.join(user, "10.0.0.1:80")()
		m.has("serverset/"+string(user), "10.0.0.1:80\n")

		w.make(api, ham) // which was missing when the machine started
		w.put(ham, "mother")
		m.has("config/"+string(ham), "mother")
	})
}

// A change of a dependency had every subscriber kill itself, read all metaconfigs and fetch everything again.
func TestH1ChangedDependencyFetchesNothingElse(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		w.make(api, ham)
		version := w.put(ham, "mother")
		m := w.boot("a", follows(web))
		before, _ := m.entry("config/" + string(spam))
		fetched := len(m.wire.fetched)
		w.must(w.reg.Link(w.Context(), web, registry.Edge(ham)))
		m.has("config/"+string(ham), "mother")
		if got := m.wire.fetched[fetched:]; !slices.Equal(got, []string{ham.Pointer().Key(version)}) {
			t.Errorf("fetched %v, and one body was new", got)
		}
		if after, _ := m.entry("config/" + string(spam)); after.Stamp != before.Stamp {
			t.Error("a name that was there before was written anew")
		}
		m.said(0, "level=WARN", "not up to date")
	})
}

// With ZooKeeper down at the start the monitor killed itself every half minute, and knew nothing of what it had followed.
func TestO2RestartWithoutTheRegistryServesWhatWasFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		leave, file := w.crowd(3)
		m.has("serverset/"+string(user), file(0))
		m.halt()
		leave(3)

		m = w.assemble("a", follows(web))
		plug := m.wire.unplug()
		m.run()
		w.passes(24 * time.Hour)
		w.must(m.Ready())
		m.has("config/"+string(spam), "casino")
		m.has("serverset/"+string(user), file(0))
		m.lists(web, registry.Edge(spam), registry.Edge(user))
		if members, ok := m.Members(user); !ok || len(members) == 0 {
			t.Error("nobody knows the members")
		}
		plug()
		w.passes(time.Hour)
		m.isIn(user, Held, "empty, was 3")
	})
}

// publishMetaconfig replaces the metaconfig of a name.
func (w *world) publishMetaconfig(name registry.Name, content string) {
	w.Helper()
	state, err := w.reg.State(w.Context(), name.Metaconfig())
	w.must(err)
	next := registry.NextVersion(time.Now(), state.Version)
	w.must(w.reg.Put(w.Context(), name.Metaconfig().Key(next), registry.Body{Data: []byte(content)}))
	_, err = w.reg.Advance(w.Context(), name.Metaconfig(), state.Version, next, nil)
	w.must(err)
}

// A changed metaconfig was ignored until a restart, and one that could not be read dropped its config without a word.
func TestO3MetaconfigThatCannotBeReadDropsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		w.publishMetaconfig(spam, `[{"type": "config", "zk_path": `)
		w.put(spam, "casino")
		m.has("config/"+string(spam), "casino")
		w.passes(3 * time.Hour)
		m.said(1, "metaconfig", string(spam))
		m.halt()
		m = w.boot("a", follows(web))
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "roulette")
	})
}

// The command of a metaconfig was given to a shell, by root, on every machine.
func TestX2CommandOfAMetaconfigIsNotRun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		trace := filepath.Join(t.TempDir(), "was-run")
		w.publishMetaconfig(spam, `[{"type": "config", "zk_path": "/config/manageddata/spam/blacklist", "command": "touch `+trace+`"}]`)
		m := w.boot("a", follows(web))
		w.put(spam, "casino")
		m.has("config/"+string(spam), "casino")
		w.passes(3 * time.Hour)
		if _, err := os.Stat(trace); err == nil {
			t.Error("the command of the metaconfig was run")
		}
	})
}

// Whoever leaves a dependency loses its file after a grace; a node that is deleted is nobody's leaving.
func TestLeavingADependencyIsNoAccident(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		leave, file := w.crowd(1)
		m.has("serverset/"+string(user), file(0))
		leave(1)
		for _, p := range []registry.Pointer{spam.Pointer(), spam.Metaconfig(), user.Pointer(), user.Metaconfig()} {
			w.must(w.reg.Delete(w.Context(), p))
		}
		w.passes(100 * time.Hour)
		m.has("config/"+string(spam), "casino")
		m.has("serverset/"+string(user), file(0))

		for _, name := range []registry.Name{spam, user} {
			w.must(w.reg.Unlink(w.Context(), web, registry.Edge(name)))
		}
		w.passes(59 * time.Second)
		m.has("config/"+string(spam), "casino")
		m.has("serverset/"+string(user), file(0))
		w.passes(time.Second)
		m.hasNot("config/" + string(spam))
		m.hasNot("serverset/" + string(user))
	})
}
