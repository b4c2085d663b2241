package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
)

const (
	blacklist registry.Name = "config.manageddata.spam.blacklist"
	users     registry.Name = "discovery.user.prod"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// first is what a feed yields at once.
func first[T any](t *testing.T, feed iter.Seq2[T, error]) T {
	t.Helper()
	for v, err := range feed {
		must(t, err)
		return v
	}
	t.Fatal("the feed yields nothing")
	panic("unreachable")
}

func TestEverythingButTheMembersOutlivesTheProcess(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "registry.db")
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	must(t, r.Create(ctx, blacklist.Pointer()))
	must(t, r.Create(ctx, blacklist.Metaconfig()))
	must(t, r.Create(ctx, users.Pointer()))
	must(t, r.CreateDependency(ctx, "web.dep"))
	must(t, r.Link(ctx, "web.dep", registry.Edge(blacklist)))
	body := registry.Body{Data: bytes.Repeat([]byte("1.2.3.4\n"), 1<<16)}
	must(t, r.Put(ctx, "data/key", body))
	state, err := r.Advance(ctx, blacklist.Pointer(), "", "1795296152.52", nil)
	must(t, err)

	joined, leave := context.WithCancel(ctx)
	var member sync.WaitGroup
	member.Go(func() {
		if err := r.Join(joined, users, registry.Member{Endpoint: "10.0.0.1:9090"}); !errors.Is(err, embedded.ErrClosed) {
			t.Errorf("a member of a registry that is closed: %v", err)
		}
	})
	defer leave()
	var before registry.Membership
	for m, err := range r.Members(ctx, users) {
		must(t, err)
		if before = m; len(m.Members) == 1 {
			break
		}
	}
	must(t, r.Close())
	member.Wait()

	r = open(t, path)
	if got, err := r.State(ctx, blacklist.Pointer()); err != nil || got != state {
		t.Errorf("the state is %+v, %v, want %+v", got, err, state)
	}
	if got := first(t, r.Dependency(ctx, "web.dep")); !slices.Equal(got.Members, []registry.Edge{registry.Edge(blacklist)}) {
		t.Errorf("the edges are %+v", got)
	}
	if got, err := r.Fetch(ctx, "data/key"); err != nil || !bytes.Equal(got.Data, body.Data) {
		t.Errorf("the body has %d bytes, %v", len(got.Data), err)
	}
	if names, err := r.Names(ctx); err != nil || !slices.Equal(names, []registry.Name{blacklist}) {
		t.Errorf("the names are %q, %v", names, err)
	}
	after := first(t, r.Members(ctx, users))
	if !after.Exists || len(after.Members) != 0 || after.Order <= before.Order {
		t.Errorf("before %+v, after %+v: want nobody, and a later order", before, after)
	}
}

// TestOrderNeverGoesBack opens one file again and again: each life goes on where the last one ended, though members come and go
// without a write.
func TestOrderNeverGoesBack(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "registry.db")
	var pointer, membership registry.Order
	var version registry.Version
	rise := func(what string, last *registry.Order, next registry.Order) {
		t.Helper()
		if next <= *last {
			t.Errorf("the order of %s goes from %d to %d", what, *last, next)
		}
		*last = next
	}
	for life := range 5 {
		r, err := embedded.Open(path, embedded.Options{})
		must(t, err)
		if life == 0 {
			must(t, r.Create(ctx, blacklist.Pointer()))
			must(t, r.Create(ctx, users.Pointer()))
		} else {
			rise("a serverset that everybody is gone from", &membership, first(t, r.Members(ctx, users)).Order)
		}
		for range 3 {
			for _, m := range comeAndGo(t, r) {
				rise("a serverset", &membership, m.Order)
			}
			next := registry.NextVersion(time.Unix(1795296152, 0), version)
			s, err := r.Advance(ctx, blacklist.Pointer(), version, next, nil)
			must(t, err)
			rise("a pointer", &pointer, s.Order)
			version = next
		}
		must(t, r.Close())
	}
}

// comeAndGo returns what a feed yields when one member joins and leaves.
func comeAndGo(t *testing.T, r *embedded.Registry) (seen []registry.Membership) {
	ctx, leave := context.WithCancel(t.Context())
	var member sync.WaitGroup
	defer member.Wait()
	defer leave()
	for m, err := range r.Members(t.Context(), users) {
		must(t, err)
		switch {
		case seen == nil && len(m.Members) == 0: // before
			member.Go(func() {
				if err := r.Join(ctx, users, registry.Member{Endpoint: "10.0.0.1:9090"}); err != nil {
					t.Error(err)
				}
			})
		case len(m.Members) == 1:
			seen = append(seen, m)
			leave()
		default:
			return append(seen, m)
		}
	}
	return nil
}

func TestAClosedRegistrySaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	synctest.Test(t, func(t *testing.T) {
		r, err := embedded.Open(path, embedded.Options{})
		must(t, err)
		must(t, r.Create(t.Context(), blacklist.Pointer()))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var yielded []error
		var feed sync.WaitGroup
		feed.Go(func() {
			for _, err := range r.Watch(ctx, blacklist.Pointer()) {
				yielded = append(yielded, err)
			}
		})
		synctest.Wait()
		must(t, r.Close())
		must(t, r.Close())
		synctest.Wait()
		if len(yielded) != 2 || yielded[0] != nil || !errors.Is(yielded[1], embedded.ErrClosed) {
			t.Errorf("the feed yielded the errors %v", yielded)
		}
		_, fetchErr := r.Fetch(ctx, "key")
		_, stateErr := r.State(ctx, blacklist.Pointer())
		for _, err := range []error{
			fetchErr, stateErr, r.Create(ctx, users.Pointer()), r.Put(ctx, "key", registry.Body{}),
			r.Join(ctx, users, registry.Member{Endpoint: "10.0.0.1:9090"}),
		} {
			if !errors.Is(err, embedded.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		cancel()
		feed.Wait()
	})
}
