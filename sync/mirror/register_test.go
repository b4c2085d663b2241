package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// local is the registrar of a machine whose registry is its own, as all machines of a world have.
func local(w *world, name string) Options {
	o := follows(web)
	o.Registrar = NewRegistrar(RegistrarOptions{Loopback: true, Ledger: filepath.Join(w.dir, name+".ledger")})
	return o
}

// registering is inWorld of those registries that keep members.
func registering(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: t.TempDir()}
		w.openRegistry()
		t.Cleanup(func() { w.reg.Close() })
		story(w)
	})
}

func (m *machine) register(name registry.Name, e registry.Endpoint) *Registration {
	m.w.Helper()
	g, err := m.Register(name, e)
	m.w.must(err)
	return g
}

// stands says how the only registration is.
func (m *machine) stands(want RegistrationState, words ...string) RegistrationStatus {
	m.w.Helper()
	synctest.Wait()
	all := m.Registrations()
	if len(all) != 1 {
		m.w.Fatalf("registrations %+v, want one", all)
	}
	if all[0].State != want {
		m.w.Fatalf("it is %s (%s), want %s", all[0].State, all[0].Reason, want)
	}
	for _, word := range words {
		if !strings.Contains(all[0].Reason, word) {
			m.w.Fatalf("the reason is %q, want %q in it", all[0].Reason, word)
		}
	}
	return all[0]
}

// members of a serverset in the registry.
func (w *world) members(name registry.Name) []registry.Member {
	w.Helper()
	synctest.Wait()
	m, err := first(w.Context(), w.reg.Members(w.Context(), name))
	w.must(err)
	return m.Members
}

func TestRegisterAndLeave(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		a, b := w.boot("a", local(w, "a")), w.boot("b", follows(web))
		one := a.register(user, "10.0.0.1:9090")
		if err := one.Wait(w.Context()); err != nil {
			t.Fatal(err)
		}
		b.has("serverset/"+string(user), "10.0.0.1:9090\n")
		two := a.register(user, "[2001:db8::1]:9090")
		b.has("serverset/"+string(user), "10.0.0.1:9090\n[2001:db8::1]:9090\n")
		two.Close()
		two.Close() // again is nothing
		if n := len(w.members(user)); n != 1 {
			t.Errorf("%d members, want the one that has not left", n)
		}
		s := a.stands(Registered)
		if s.Endpoint != "10.0.0.1:9090" || s.Serverset != user || s.Holders != 1 || s.Node != w.members(user)[0].Node {
			t.Errorf("the status is %+v", s)
		}
	})
}

// Two programs hold the same file: it is one member, until both have let go.
func TestRegisterTheSameTwice(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", local(w, "a"))
		one, two := m.register(user, "10.0.0.1:9090"), m.register(user, "10.0.0.1:9090")
		if s := m.stands(Registered); s.Holders != 2 || len(w.members(user)) != 1 {
			t.Errorf("%d holders, %d members, want two and one", s.Holders, len(w.members(user)))
		}
		one.Close()
		m.stands(Registered)
		two.Close()
		if n := len(w.members(user)); n != 0 || len(m.Registrations()) != 0 {
			t.Errorf("%d members are left, and registrations %+v", n, m.Registrations())
		}
		m.register(user, "10.0.0.1:9090")
		m.stands(Registered)
	})
}

func TestRegisterSaysWeightAndLabels(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", local(w, "a"))
		g := m.register(user, "10.0.0.1:9090")
		w.must(g.Set([]byte(`{"weight": 3}`)))
		if s := m.stands(Registered); s.Weight != 3 {
			t.Errorf("the weight is %d", s.Weight)
		}
		for range 3 {
			w.must(g.Set([]byte(`{"weight": 7, "labels": {"zone": "eu-west-1a"}}` + "\n")))
		}
		members := w.members(user)
		if len(members) != 1 || members[0].Weight != 7 || members[0].Labels["zone"] != "eu-west-1a" {
			t.Errorf("the members are %+v", members)
		}
		for _, bad := range []string{"", "x", "[]", `"7"`, `{"weight": -1}`, `{"weight": 1.5}`, `{"weight": 65536}`, `{"wieght": 1}`, `{"weight": 1} {}`, `{"labels": {"a b": "c"}}`, `{"labels": ["a"]}`} {
			if err := g.Set([]byte(bad)); !errors.Is(err, registry.ErrInvalid) || strings.Contains(err.Error(), "Go ") {
				t.Errorf("%s: %v, want %v in plain words", bad, err, registry.ErrInvalid)
			}
		}
		if err := g.Set([]byte(strings.Repeat(" ", maxAttributes+1))); !errors.Is(err, registry.ErrTooLarge) {
			t.Errorf("a large one: %v", err)
		}
		if members := w.members(user); members[0].Weight != 7 {
			t.Errorf("after what was refused the members are %+v", members)
		}
	})
}

// A service starts on the worst day: before the registry is there. What it said before counts.
func TestRegisterBeforeTheRegistryIsThere(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		m := w.assemble("a", local(w, "a"))
		g := m.register(user, "10.0.0.1:9090")
		w.must(g.Set([]byte(`{"weight": 2}`)))
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		w.is(g.Wait(ctx), registry.ErrTimeout)
		m.stands(Unregistered, "not answered")
		m.run()
		w.must(g.Wait(w.Context()))
		if members := w.members(user); len(members) != 1 || members[0].Weight != 2 {
			t.Errorf("the members are %+v", members)
		}
	})
}

// A misspelt serverset is refused with what is nearest. When somebody makes it, it is registered.
func TestRegisterInWhatDoesNotExist(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", local(w, "a"))
		g := m.register("discovery.user.prdo", "10.0.0.1:9090")
		w.is(g.Wait(w.Context()), registry.ErrNotExist)
		m.stands(Refused, string(user), "nearest")
		w.make(web, "discovery.user.prdo")
		w.passes(2 * refusedPause)
		m.stands(Registered)
		if state, err := g.State(); state != Registered || err != nil {
			t.Errorf("it is %s, %v", state, err)
		}
	})
}

func TestRegisterRefusesWhatIsOfNoUse(t *testing.T) {
	fleet := NewRegistrar(RegistrarOptions{})
	for _, bad := range []struct {
		name registry.Name
		e    registry.Endpoint
		word string
	}{
		{"config.manageddata.spam.blacklist", "10.0.0.1:80", "only serversets"},
		{"discovery user", "10.0.0.1:80", ""},
		{user, "10.0.0.1", "no port"},
		{user, "127.0.0.1:80", "itself"},
		{user, "127.1.2.3:80", "itself"},
		{user, "[::1]:80", "itself"},
		{user, "[::ffff:127.0.0.1]:80", "itself"},
		{user, "localhost:80", "itself"},
		{user, "LOCALHOST.:80", "itself"},
		{user, "web.localhost:80", "itself"},
		{user, "0.0.0.0:80", "every address"},
		{user, "[::]:80", "every address"},
		{user, "224.0.0.1:80", "many"},
	} {
		g, err := fleet.Register(bad.name, bad.e)
		if !errors.Is(err, registry.ErrInvalid) || g != nil || !strings.Contains(err.Error(), bad.word) {
			t.Errorf("%s in %s: %v, want %q in it", bad.e, bad.name, err, bad.word)
		}
	}
	for _, good := range []registry.Endpoint{"10.0.0.1:80", "web-1:80", "localhosts.example.com:80", "[2001:db8::1]:80"} {
		if _, err := fleet.Register(user, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if _, err := NewRegistrar(RegistrarOptions{Loopback: true}).Register(user, "127.0.0.1:80"); err != nil {
		t.Errorf("with a registry of its own: %v", err)
	}
}

// The end of a monitor takes everything out, and waits for that.
func TestRegistrationsEndWithTheMonitor(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", local(w, "a"))
		for _, e := range []registry.Endpoint{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"} {
			m.register(user, e)
		}
		if n := len(w.members(user)); n != 3 {
			t.Fatalf("%d members", n)
		}
		m.halt()
		if n := len(w.members(user)); n != 0 {
			t.Errorf("%d members are left behind", n)
		}
		for _, s := range m.Registrations() {
			if s.State != Unregistered || !strings.Contains(s.Reason, "stopping") {
				t.Errorf("%+v", s)
			}
		}
	})
}

// The next process knows the nodes of the one that was killed, for as long as their session may live.
func TestLedgerOutlivesTheProcess(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		o := local(w, "a")
		m := w.boot("a", o)
		m.register(user, "10.0.0.1:80")
		node := m.stands(Registered).Node
		next := NewRegistrar(RegistrarOptions{Ledger: o.Registrar.o.Ledger})
		if got := next.ledger.former(spot{user, "10.0.0.1:80"}); got != node {
			t.Errorf("the next process knows of node %q, want %q", got, node)
		}
		w.must(os.WriteFile(o.Registrar.o.Ledger, []byte(`[{"serverset": 7`), 0o600))
		if next := NewRegistrar(RegistrarOptions{Ledger: o.Registrar.o.Ledger}); len(next.ledger.formers) != 0 {
			t.Errorf("a broken ledger says %v", next.ledger.formers)
		}
	})
}

// A serverset whose node was deleted has a name that is right: nobody is told that he has misspelt it.
func TestRegisterInADeletedServerset(t *testing.T) {
	registering(t, func(w *world) {
		w.make(web, user)
		w.must(w.reg.Delete(w.Context(), user.Pointer()))
		m := w.boot("a", local(w, "a"))
		m.register(user, "10.0.0.1:9090")
		m.stands(Refused, "was deleted", "kingpin create "+string(user))
		w.must(w.reg.Create(w.Context(), user.Pointer()))
		w.passes(10 * time.Second)
		m.stands(Registered)
	})
}
