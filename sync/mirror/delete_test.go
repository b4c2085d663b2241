package mirror

import (
	"errors"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestDelete(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web, spam, user)
		version := w.put(spam, "casino")
		m := w.boot("a", follows(web))
		w.is(m.Delete(ctx, spam, "ann"), registry.ErrInvalid)
		w.is(m.Delete(ctx, "config.manageddata.spam.blacklst", "ann"), registry.ErrNotExist)
		w.is(m.Delete(ctx, registry.DeciderName, "ann"), registry.ErrInvalid)
		w.is(m.Delete(ctx, "spam", "ann"), registry.ErrInvalid)
		m.has("config/"+string(spam), "casino")

		w.must(m.Unsubscribe(ctx, web, registry.Edge(spam), registry.Edge(user)))
		leave := w.join(user, "10.0.0.1:80")
		w.is(m.Delete(ctx, user, "ann"), registry.ErrNotEmpty)
		leave()
		w.must(m.Delete(ctx, user, "ann"))
		w.must(m.Delete(ctx, spam, "ann"))
		w.is(m.Delete(ctx, spam, "ann"), registry.ErrNotExist)
		names, err := m.Names(ctx)
		w.must(err)
		if len(names) != 0 {
			t.Errorf("there are still %v", names)
		}
		for _, name := range []registry.Name{spam, user} {
			for _, p := range []registry.Pointer{name.Pointer(), name.Metaconfig()} {
				if s, err := w.reg.State(ctx, p); err != nil || s.Exists {
					t.Errorf("%s is still there (%v)", p, err)
				}
			}
		}
		if body, err := w.reg.Fetch(ctx, spam.Pointer().Key(version)); err != nil || string(body.Data) != "casino" {
			t.Errorf("its body is gone: %v", err)
		}
		w.passes(2 * time.Minute)
		m.hasNot("config/" + string(spam))
		w.must(m.Create(ctx, spam, nil, []byte("again"), "ann"))
		m.has("config/"+string(spam), "again")
	})
}

// Who subscribes in the moment in which a name is removed keeps it.
func TestDeleteLosesToASubscription(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web)
		w.make(api, spam)
		w.put(spam, "casino")
		w.must(w.reg.Unlink(ctx, api, registry.Edge(spam)))
		m := w.boot("a", follows(web))
		looks := 0
		m.wire.set(func(c *wire) {
			c.edges = func(d registry.Dependency, e registry.Edges) registry.Edges {
				if d != web {
					return e
				}
				if looks++; looks == 1 { // somebody links it behind the first look
					_ = w.reg.Link(ctx, web, registry.Edge(spam))
				}
				return e
			}
		})
		err := m.Delete(ctx, spam, "ann")
		w.is(err, registry.ErrInvalid)
		state, err := w.reg.State(ctx, spam.Metaconfig())
		if err != nil || state.Version == "" {
			t.Errorf("its metaconfig is %+v (%v)", state, err)
		}
		m.has("config/"+string(spam), "casino")
		if names, err := m.Names(ctx); err != nil || len(names) != 1 {
			t.Error(errors.Join(err, errors.New("it is no name any more")))
		}
	})
}
