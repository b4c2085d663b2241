package mirror

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// slow has each fetch of a machine take so long.
func (m *machine) slow(takes time.Duration) {
	m.wire.set(func(c *wire) { c.fetch = func(string) error { time.Sleep(takes); return nil } })
}

// shows is has of a machine that is given no time.
func (m *machine) showsNow(file, content string) {
	m.w.Helper()
	if got, ok := m.read(file); !ok || got != content {
		m.w.Errorf("%s holds %q (%v) at once, want %q", file, got, ok, content)
	}
}

// kingpin dep add web.dep NAME; cat config/NAME
func TestSubscribedNamesAreHereOnceTheyWereAwaited(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web)
		w.make(api, spam)
		w.make("all.dep", ham, user)
		w.put(spam, "casino")
		w.put(ham, "boss")
		w.must(w.reg.CreateDependency(ctx, "nested.dep"))
		w.must(w.reg.Link(ctx, "nested.dep", "all.dep"))
		m := w.boot("a", follows(web))
		m.slow(time.Second)

		w.must(m.Subscribe(ctx, web, registry.Edge(spam)))
		m.AwaitMembers(ctx, web, registry.Edge(spam))
		m.showsNow("config/"+string(spam), "casino")
		if s, _ := m.Status(spam); s.Condition != Current {
			t.Errorf("%s is %s", spam, s.Condition)
		}
		w.must(m.Subscribe(ctx, web, "nested.dep"))
		m.AwaitMembers(ctx, web, "nested.dep")
		m.showsNow("config/"+string(ham), "boss")
		m.showsNow("serverset/"+string(user), "")
		if dir, ok := m.disk.Graph().Dir("all.dep"); !ok || len(dir.Links) != 2 {
			t.Errorf("all.dep is shown with %v (%v)", dir.Links, ok)
		}

		began := time.Now()
		w.must(m.Subscribe(ctx, web, registry.Edge(spam), "nested.dep")) // nothing changes
		m.AwaitMembers(ctx, web, registry.Edge(spam), "nested.dep")
		w.must(m.Subscribe(ctx, api, registry.Edge(ham))) // nobody here follows it
		m.AwaitMembers(ctx, api, registry.Edge(ham))
		if took := time.Since(began); took > 0 {
			t.Errorf("who had nothing to wait for waited %v", took)
		}
	})
}

// A name that cannot be had now keeps nobody waiting.
func TestWhatCannotBeHadIsNotAwaited(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web)
		w.make(api, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return errCut } })
		w.must(m.Subscribe(ctx, web, registry.Edge(spam)))
		began := time.Now()
		m.AwaitMembers(ctx, web, registry.Edge(spam))
		if took := time.Since(began); took > 0 {
			t.Errorf("it was waited for %v", took)
		}
	})
}

// kingpin rm NAME; cat config/NAME; kingpin create NAME FILE; cat config/NAME
func TestRemovedNameIsGoneAtOnceAndComesAgainAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web, spam, ham)
		w.put(spam, "casino")
		w.put(ham, "boss")
		m := w.boot("a", follows(web))
		w.must(m.Unsubscribe(ctx, web, registry.Edge(spam), registry.Edge(ham)))
		m.showsNow("config/"+string(spam), "casino") // for the case that it was a mistake
		w.must(m.Delete(ctx, spam, "ann"))
		if _, here := m.read("config/" + string(spam)); here {
			t.Error("it is still here")
		}
		if _, followed := m.Status(spam); followed {
			t.Error("it is still followed")
		}
		w.must(m.Create(ctx, spam, nil, []byte("again"), "ann"))
		m.showsNow("config/"+string(spam), "again")

		for _, p := range []registry.Pointer{ham.Metaconfig(), ham.Pointer()} { // by another machine, of which this one has not heard
			w.must(w.reg.Delete(ctx, p))
		}
		m.slow(time.Second)
		w.must(m.Create(ctx, ham, nil, []byte("new boss"), "ann"))
		m.showsNow("config/"+string(ham), "new boss")
	})
}

// kingpin put NAME FILE, of a name that was held; kingpin status NAME
func TestPublishedNameIsCurrentAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return registry.ErrChecksum } })
		w.put(spam, "poker")
		m.isIn(spam, Held, "checksum")
		if _, err := m.Publish(ctx, Publication{Name: spam, Body: []byte("bridge"), Author: "ann"}); err != nil {
			t.Fatal(err)
		}
		if s, _ := m.Status(spam); s.Condition != Current {
			t.Errorf("it is %s: %s", s.Condition, s.Reason)
		}
	})
}

// exec 9> .register/NAME/ENDPOINT; echo '{"weight": 3}' >&9; sync .register/NAME/ENDPOINT; cat serverset/NAME .members/NAME
func TestRegistrationThatWasAwaitedIsShownHere(t *testing.T) {
	registering(t, func(w *world) {
		ctx := w.Context()
		w.make(web, user)
		m := w.boot("a", local(w, "a"))
		g := m.register(user, "10.0.0.1:9090")
		shows := func(weight string) {
			w.Helper()
			w.must(g.Wait(ctx))
			m.AwaitNode(ctx, user, g.Node())
			m.showsNow("serverset/"+string(user), "10.0.0.1:9090\n")
			if said, _ := m.Members(user); !strings.Contains(string(said), `"weight": `+weight) {
				t.Errorf("the members are %s, want the weight %s", said, weight)
			}
		}
		shows("0")
		w.must(g.Set([]byte(`{"weight": 3}`)))
		shows("3")
		w.must(g.Set([]byte(`{"weight": 4}`)))
		w.must(g.Set([]byte(`{"weight": 5}`)))
		shows("5")
	})
}

// exec 9>&- ; kingpin accept NAME --here; cat serverset/NAME: who has left is not in it, though the feed has not told of it yet.
func TestAcceptedServersetIsAsTheRegistryHasItNow(t *testing.T) {
	registering(t, func(w *world) {
		ctx := w.Context()
		w.make(web, user)
		m := w.boot("a", follows(web))
		for _, accept := range []func() error{
			func() error { _, err := m.Accept(ctx, user, time.Minute, "ann"); return err },
			func() error { _, err := m.AcceptHere(ctx, user, time.Minute, "ann"); return err },
		} {
			leave := w.join(user, "10.0.0.1:9090")
			m.has("serverset/"+string(user), "10.0.0.1:9090\n")
			m.wire.set(func(c *wire) { c.deaf = true })
			leave()
			w.must(accept())
			m.showsNow("serverset/"+string(user), "")
			m.wire.set(func(c *wire) { c.deaf = false })
		}
	})
}
