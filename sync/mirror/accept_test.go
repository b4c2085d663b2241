package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// What an operator accepts on one machine is shown by all, as long as it was said.
func TestAcceptEmptiesTheFileEverywhere(t *testing.T) {
	inWorld(t, func(w *world) {
		const file = "serverset/" + string(user)
		w.make(web, user)
		a, b := w.boot("a", follows(web)), w.boot("b", follows(web))
		leave, lines := w.crowd(3)
		leave(3)
		w.passes(time.Hour)
		for _, m := range []*machine{a, b} {
			m.has(file, lines(0))
			m.isIn(user, Held, "empty, was 3")
		}
		got, err := a.Accept(w.Context(), user, 15*time.Minute, "ann@laptop")
		w.must(err)
		if got.By != "ann@laptop" || time.Until(got.Until) > 15*time.Minute {
			t.Errorf("accepted: %+v", got)
		}
		for _, m := range []*machine{a, b} {
			m.has(file, "")
			m.isIn(user, Current)
			m.said(1, "up to date again", string(user))
			if s := m.Serversets()[0]; s.By != "ann@laptop" || !s.Accepted.Equal(got.Until) || s.Hold != (Hold{}) {
				t.Errorf("the serverset is %+v", s)
			}
		}
		b.said(1, "accepted", "by=ann@laptop", string(user))

		back := w.join(user, "10.9.9.9:80")
		a.has(file, "10.9.9.9:80\n")
		back()
		b.has(file, "") // still accepted

		w.passes(15 * time.Minute)
		back = w.join(user, "10.9.9.9:80")
		a.has(file, "10.9.9.9:80\n")
		back()
		w.passes(time.Hour)
		for _, m := range []*machine{a, b} {
			m.has(file, "10.9.9.9:80\n")
			m.isIn(user, Held, "empty, was 1")
		}
		c := w.boot("c", follows(web)) // which comes after it was over
		c.has(file, "")
	})
}

// A machine that was down when somebody accepted believes it when it comes up.
func TestAcceptIsHeardByWhoComesLater(t *testing.T) {
	inWorld(t, func(w *world) {
		const file = "serverset/" + string(user)
		w.make(web, user)
		a, b := w.boot("a", follows(web)), w.boot("b", follows(web))
		leave, lines := w.crowd(10)
		b.halt()
		leave(9)
		w.passes(time.Minute)
		a.isIn(user, Held, "shrunk to 1, was 10")
		_, err := a.Accept(w.Context(), user, 15*time.Minute, "ann@laptop")
		w.must(err)
		a.has(file, lines(9))
		w.passes(14 * time.Minute)
		b = w.boot("b", follows(web))
		b.has(file, lines(9))
		leave(1)
	})
}

func TestAcceptHere(t *testing.T) {
	inWorld(t, func(w *world) {
		const file = "serverset/" + string(user)
		w.make(web, user)
		a, b := w.boot("a", follows(web)), w.boot("b", follows(web))
		leave, lines := w.crowd(2)
		leave(2)
		plug := a.wire.unplug() // it needs nobody
		a.Refresh(user)
		w.passes(time.Minute)
		_, err := a.AcceptHere(w.Context(), user, time.Minute, "ann@laptop")
		w.must(err)
		plug()
		w.passes(20 * time.Second)
		a.has(file, "")
		b.has(file, lines(0))
		b.isIn(user, Held, "empty, was 2")
		if s := a.Serversets()[0]; !s.Here || s.By != "ann@laptop" {
			t.Errorf("the serverset is %+v", s)
		}
	})
}

func TestAcceptMayBeTakenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		a := w.boot("a", follows(web))
		_, err := a.Accept(w.Context(), user, time.Hour, "ann@laptop")
		w.must(err)
		_, err = a.Accept(w.Context(), user, 0, "ann@laptop")
		w.must(err)
		leave, lines := w.crowd(2)
		leave(2)
		w.passes(time.Minute)
		a.has("serverset/"+string(user), lines(0))
		a.isIn(user, Held, "empty, was 2")
	})
}

func TestAcceptOfADeletedServerset(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		a := w.boot("a", follows(web))
		leave, lines := w.crowd(2)
		leave(2)
		w.must(w.reg.Delete(w.Context(), user.Pointer()))
		w.passes(time.Minute)
		a.has("serverset/"+string(user), lines(0))
		_, err := a.Accept(w.Context(), user, time.Minute, "ann@laptop")
		w.must(err)
		a.has("serverset/"+string(user), "")
		a.isIn(user, Current)
	})
}

func TestAcceptRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user, spam)
		m := w.boot("a", follows(web))
		for name, err := range map[string]error{
			"a config":            second(m.Accept(w.Context(), spam, time.Minute, "ann")),
			"a config, here":      second(m.AcceptHere(w.Context(), spam, time.Minute, "ann")),
			"for ever":            second(m.Accept(w.Context(), user, 10000*time.Hour, "ann")),
			"for less than none":  second(m.Accept(w.Context(), user, -time.Hour, "ann")),
			"what is no name":     second(m.Accept(w.Context(), "user", time.Minute, "ann")),
			"not here, here only": second(m.AcceptHere(w.Context(), "discovery.other.prod", time.Minute, "ann")),
		} {
			if !errors.Is(err, registry.ErrInvalid) && !errors.Is(err, registry.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		plug := m.wire.unplug()
		w.is(second(m.Accept(w.Context(), user, time.Minute, "ann")), registry.ErrUnreachable)
		plug()
	})
}

func second[T any](_ T, err error) error { return err }

func TestMembers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user, spam)
		m := w.boot("a", follows(web))
		stay := w.joinAs(registry.Member{Endpoint: "10.0.0.2:80", Weight: 3, Labels: map[string]string{"zone": "a"}})
		defer stay()
		goes := w.joinAs(registry.Member{Endpoint: "10.0.0.1:80"})
		m.membersAre(`10.0.0.1:80 0 serving`, `10.0.0.2:80 3 zone=a serving`)
		goes()
		m.membersAre(`10.0.0.1:80 0 held`, `10.0.0.2:80 3 zone=a serving`)
		m.halt()
		m = w.assemble("a", follows(web)) // with nobody to tell it anything
		m.membersAre(`10.0.0.1:80 0 unknown`, `10.0.0.2:80 0 unknown`)
		m.run()
		w.passes(10 * time.Second)
		m.membersAre(`10.0.0.2:80 3 zone=a serving`)
		for _, name := range []registry.Name{spam, "discovery.other.prod"} {
			if data, ok := m.Members(name); ok {
				t.Errorf("%s has members: %s", name, data)
			}
		}
	})
}

func (w *world) joinAs(member registry.Member) (leave func()) {
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.reg.Join(ctx, user, member); err != nil {
			w.Errorf("join: %v", err)
		}
	}()
	w.passes(time.Second)
	return func() { cancel(); <-done }
}

// membersAre compares with the JSON: endpoint, weight, labels and state.
func (m *machine) membersAre(want ...string) {
	m.w.Helper()
	m.w.passes(time.Millisecond)
	data, ok := m.Members(user)
	if !ok {
		m.w.Fatal("there are no members")
	}
	var list []struct {
		Endpoint string
		Weight   int
		Labels   map[string]string
		Since    *time.Time
		State    string
		Gone     *time.Time
	}
	m.w.must(json.Unmarshal(data, &list))
	var got []string
	for _, one := range list {
		words := []string{one.Endpoint, string(rune('0' + one.Weight))}
		for key, value := range one.Labels {
			words = append(words, key+"="+value)
		}
		got = append(got, strings.Join(append(words, one.State), " "))
		if (one.Since == nil) != (one.State == "unknown") || (one.Gone != nil) != (one.State == "held") {
			m.w.Errorf("%+v", one)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		m.w.Fatalf("the members are %q, want %q\n%s", got, want, data)
	}
}
