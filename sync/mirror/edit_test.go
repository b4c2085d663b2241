package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func edges(names ...string) []registry.Edge {
	var list []registry.Edge
	for _, name := range names {
		list = append(list, registry.Edge(name))
	}
	return list
}

func TestCreatedNameIsHereWhenCreateReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		w.make(api)
		m := w.boot("a", follows(web, api))
		other := w.boot("b", follows(api))

		w.must(m.Create(w.Context(), spam, nil, []byte("casino"), "ann@laptop"))
		if content, ok := m.read("config/" + string(spam)); !ok || content != "casino" {
			t.Errorf("on disk is %q, %v", content, ok)
		}
		m.lists(web, edges(string(spam))...)
		other.hasNot("config/" + string(spam))

		w.must(m.Create(w.Context(), ham, []registry.Dependency{web, api}, nil, ""))
		other.has("config/"+string(ham), "")
		w.must(m.Create(w.Context(), user, []registry.Dependency{api}, nil, ""))
		other.has("serverset/"+string(user), "")

		names, err := m.Names(w.Context())
		w.must(err)
		if want := []registry.Name{ham, spam, user}; !slices.Equal(names, want) {
			t.Errorf("the registry has %v, want %v", names, want)
		}
		// The old tools find a metaconfig that they understand.
		state, err := w.reg.State(w.Context(), user.Metaconfig())
		w.must(err)
		body, err := w.reg.Fetch(w.Context(), user.Metaconfig().Key(state.Version))
		w.must(err)
		_, err = checkMetaconfig(user, body.Data)
		w.must(err)
		m.said(1, "msg=created", string(spam), "author=ann@laptop")
	})
}

// Promise 4: one gesture makes exactly one version: never an empty one.
func TestCreatedWithABodyIsNeverSeenEmpty(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		m := w.boot("a", follows(web))
		other := w.boot("b", follows(web))
		m.wire.set(func(c *wire) {
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				<-time.After(time.Second)
				other.hasNot("config/" + string(spam))
				state, err := call()
				<-time.After(time.Second)
				return state, err
			}
		})
		w.must(m.Create(w.Context(), spam, nil, []byte("casino"), ""))
		other.has("config/"+string(spam), "casino")
		if old := other.disk.Superseded(); len(old) != 0 {
			t.Errorf("the other machine has seen %v before", old)
		}
	})
}

func TestCreateIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		w.must(m.Create(w.Context(), ham, nil, nil, ""))
		alone := w.boot("b", Options{})
		create := func(m *machine, name registry.Name, dep registry.Dependency, body []byte) error {
			var deps []registry.Dependency
			if dep != "" {
				deps = []registry.Dependency{dep}
			}
			return m.Create(w.Context(), name, deps, body, "")
		}
		for name, test := range map[string]struct {
			err   error
			is    error
			words string
		}{
			"exists":                 {create(m, ham, "", nil), registry.ErrExist, "kingpin dep add web.dep " + string(ham)},
			"no such dependency":     {create(m, "config.x", "gone.dep", nil), registry.ErrNotExist, "gone.dep"},
			"no dependency":          {create(alone, "config.x", "", nil), registry.ErrInvalid, "--dep"},
			"no name":                {create(m, "x", "", nil), registry.ErrInvalid, "x"},
			"serverset with members": {create(m, user, "", []byte("a:1")), registry.ErrInvalid, "register"},
			"too large":              {create(m, "config.x", "", make([]byte, DefaultMaxBody+1)), registry.ErrTooLarge, "16777217"},
		} {
			if !errors.Is(test.err, test.is) || !strings.Contains(test.err.Error(), test.words) {
				t.Errorf("%s: %v, want %q and %v", name, test.err, test.words, test.is)
			}
		}
		for _, pointer := range []registry.Pointer{"/config/x", registry.Name("config.x").Metaconfig()} {
			if state, _ := w.reg.State(w.Context(), pointer); state.Exists {
				t.Errorf("a refused name left %s", pointer)
			}
		}
	})
}

// The connection is lost between the steps of Create; doing it again finishes it.
func TestCreateAgainFinishesWhatWasLeftHalfDone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		m := w.boot("a", follows(web))
		n := 0
		m.wire.set(func(c *wire) { // the body is published, its metaconfig not
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				if n++; n == 2 {
					return registry.State{}, errCut
				}
				return call()
			}
		})
		w.is(m.Create(w.Context(), spam, nil, []byte("casino"), ""), registry.ErrUnreachable)
		w.must(m.Create(w.Context(), spam, nil, nil, ""))
		m.has("config/"+string(spam), "casino")
	})
}

func TestSubscribeIsShownWhenItReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, ham)
		w.put(ham, "mother")
		m := w.boot("a", follows(web))
		w.must(m.Subscribe(w.Context(), web, edges("api.dep")...))
		dir, _ := m.disk.Graph().Dir(web)
		if _, ok := dir.Link("api.dep"); !ok {
			t.Errorf("web.dep shows %v when Subscribe has returned", dir.Links)
		}
		m.has("config/"+string(ham), "mother")
		w.must(m.Subscribe(w.Context(), web, edges("api.dep", string(ham))...)) // one is there already
		m.lists(web, edges("api.dep", string(ham), string(spam))...)

		w.must(m.Unsubscribe(w.Context(), web, edges("api.dep", string(ham))...))
		dir, _ = m.disk.Graph().Dir(web)
		if len(dir.Links) != 1 {
			t.Errorf("web.dep shows %v when Unsubscribe has returned", dir.Links)
		}
		w.is(m.Unsubscribe(w.Context(), web, edges("api.dep")...), registry.ErrNotExist)
	})
}

func TestSubscriptionsThatAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, ham)
		w.make("deep.dep")
		w.must(w.reg.Link(w.Context(), api, "deep.dep"))
		w.must(w.reg.Link(w.Context(), "deep.dep", "web.dep"))
		m := w.boot("a", follows(web))
		for name, test := range map[string]struct {
			err   error
			is    error
			words string
		}{
			"itself":              {m.Subscribe(w.Context(), web, "web.dep"), registry.ErrInvalid, "web.dep > web.dep"},
			"a circle":            {m.Subscribe(w.Context(), web, edges(string(spam), "api.dep")...), registry.ErrInvalid, "web.dep > api.dep > deep.dep > web.dep"},
			"no such name":        {m.Subscribe(w.Context(), web, edges("config.manageddata.x.y")...), registry.ErrNotExist, "kingpin create"},
			"no such dependency":  {m.Subscribe(w.Context(), web, "gone.dep"), registry.ErrNotExist, "gone.dep"},
			"to no dependency":    {m.Subscribe(w.Context(), "gone.dep", edges(string(ham))...), registry.ErrNotExist, "gone.dep"},
			"no name at all":      {m.Subscribe(w.Context(), web, "../etc"), registry.ErrInvalid, "etc"},
			"one good, one wrong": {m.Subscribe(w.Context(), web, edges(string(ham), "gone.dep")...), registry.ErrNotExist, "gone.dep"},
		} {
			if !errors.Is(test.err, test.is) || !strings.Contains(test.err.Error(), test.words) {
				t.Errorf("%s: %v, want %q and %v", name, test.err, test.words, test.is)
			}
		}
		m.lists(web, edges(string(spam))...)
	})
}

func TestDependenciesComeAndGo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		w.must(m.CreateDependency(w.Context(), api))
		w.is(m.CreateDependency(w.Context(), api), registry.ErrExist)
		w.is(m.CreateDependency(w.Context(), "api"), registry.ErrInvalid)
		if _, shown := m.disk.Graph().Dir(api); shown {
			t.Error("a dependency that nobody follows is shown")
		}
		w.must(m.Subscribe(w.Context(), web, "api.dep"))
		w.must(m.Subscribe(w.Context(), api, edges(string(spam))...))
		m.lists(api, edges(string(spam))...)

		err := m.DeleteDependency(w.Context(), api)
		w.is(err, registry.ErrInvalid)
		if !strings.Contains(err.Error(), "kingpin dep rm web.dep api.dep") {
			t.Errorf("error %q does not say what to do", err)
		}
		w.must(m.Unsubscribe(w.Context(), web, "api.dep"))
		w.is(m.DeleteDependency(w.Context(), api), registry.ErrNotEmpty)
		w.must(m.Unsubscribe(w.Context(), api, edges(string(spam))...))
		w.must(m.DeleteDependency(w.Context(), api))
		w.is(m.DeleteDependency(w.Context(), api), registry.ErrNotExist)
		w.is(m.DeleteDependency(w.Context(), web), registry.ErrInvalid) // its own

		all, err := m.Dependencies(w.Context())
		w.must(err)
		if !slices.Equal(all, []registry.Dependency{web}) {
			t.Errorf("the registry has %v", all)
		}
		members, err := m.Edges(w.Context(), web)
		w.must(err)
		if !slices.Equal(members, edges(string(spam))) {
			t.Errorf("web.dep has %v", members)
		}
		_, err = m.Edges(w.Context(), api)
		w.is(err, registry.ErrNotExist)
	})
}

func TestWriteThatCreates(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		m := w.boot("a", follows(web))
		other := w.boot("b", follows(web))
		p := write(spam, "casino")
		p.Create, p.Origin, p.CompareAndSet = true, 7, true
		e, err := m.Publish(w.Context(), p)
		w.must(err)
		if here, _ := m.entry("config/" + string(spam)); here != e || e.Origin != 7 || e.Stamp == 0 {
			t.Errorf("returned %+v, on disk is %+v", e, here)
		}
		m.lists(web, edges(string(spam))...)
		other.has("config/"+string(spam), "casino")
		if old := other.disk.Superseded(); len(old) != 0 {
			t.Errorf("the other machine has seen %v before", old)
		}

		// A name that exists and is followed by nobody is subscribed again.
		w.must(m.Unsubscribe(w.Context(), web, edges(string(spam))...))
		w.passes(2 * time.Minute)
		m.hasNot("config/" + string(spam))
		p.Body, p.CompareAndSet = []byte("roulette"), false
		e, err = m.Publish(w.Context(), p)
		w.must(err)
		if e.Stamp == 0 {
			t.Errorf("returned %+v, which is not on disk", e)
		}
		other.has("config/"+string(spam), "roulette")
		w.must(m.Unsubscribe(w.Context(), web, edges(string(spam))...))
		w.passes(2 * time.Minute)
		e, err = m.Publish(w.Context(), p) // the same bytes make no version, but a file
		w.must(err)
		if here, _ := m.entry("config/" + string(spam)); here.Stamp == 0 || here.Stamp != e.Stamp {
			t.Errorf("returned %+v, on disk is %+v", e, here)
		}

		// An edge was there before the name.
		w.must(w.reg.Create(w.Context(), ham.Metaconfig()))
		w.must(w.reg.Link(w.Context(), web, registry.Edge(ham)))
		m.isIn(ham, Missing)
		p.Name = ham
		_, err = m.Publish(w.Context(), p)
		w.must(err)
		m.lists(web, edges(string(ham), string(spam))...)
		state, err := w.reg.State(w.Context(), ham.Metaconfig())
		w.must(err)
		if state.Version == "" {
			t.Error("a name was made without its metaconfig")
		}

		// Not so where it is not asked.
		p.Name, p.Create = "config.manageddata.other.thing", false
		_, err = m.Publish(w.Context(), p)
		w.is(err, registry.ErrNotExist)
	})
}

func TestEditsWithTheRegistryAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		defer m.wire.unplug()()
		w.is(m.Subscribe(w.Context(), web, edges(string(spam))...), registry.ErrUnreachable)
		w.is(m.Unsubscribe(w.Context(), web, edges(string(spam))...), registry.ErrUnreachable)
		w.is(m.Create(w.Context(), ham, nil, nil, ""), registry.ErrUnreachable)
		m.lists(web, edges(string(spam))...)
	})
}

// What cannot be shown in time was done all the same.
func TestEditDoesNotWaitForEverForThisMachineToShowIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(ham, "mother")
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		w.must(m.Create(ctx, ham, nil, nil, ""))
		synctest.Wait()
		m.isIn(ham, Pending)
		m.lists(web, edges(string(ham), string(spam))...)
	})
}

func TestWrongMetaconfigIsNoticed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		m := w.boot("a", follows(web))
		w.must(m.Create(w.Context(), spam, nil, nil, ""))
		w.must(m.Create(w.Context(), ham, nil, nil, ""))
		w.passes(3 * time.Hour)
		m.said(0, "metaconfig")

		w.publishMetaconfig(spam, `[{"type": "config", "zk_path": `)
		w.publishMetaconfig(ham, `[{"type": "config", "zk_path": "/config/elsewhere"}]`)
		w.passes(3 * time.Hour)
		m.said(1, "metaconfig", string(spam))
		m.said(1, "metaconfig", string(ham), "/config/manageddata/ham/whitelist")
		if n := m.Stats().Metaconfigs; n != 2 {
			t.Errorf("%d wrong metaconfigs, want 2", n)
		}
		w.put(spam, "casino")
		m.has("config/"+string(spam), "casino")
	})
}
