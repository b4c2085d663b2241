package registrytest

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var changesTests = map[string]func(t *testing.T, a, b Registry){
	"one feed tells which followed names have changed": testChanges,
	"one feed skips states but never the last":         testChangesLast,
	"two feeds of changes tell the same":               testChangesTwice,
}

// Changes is what a registry may offer beside the feeds of single nodes, for those who follow very many. It tells of each name that
// Follow was called for, once at least, and then of those that may have changed since it yielded last, until stop is called. It
// may tell of others too, and yields nil when any node may have changed. What it has told of is to be read again.
type Changes interface {
	Follow(n registry.Name) (stop func())
	Changes(ctx context.Context) iter.Seq2[[]registry.Pointer, error]
}

// changes consumes a feed of changes in a goroutine of its own.
type changes struct{ heard chan []registry.Pointer }

func hear(t *testing.T, r Changes) *changes {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &changes{heard: make(chan []registry.Pointer)}
	go func() {
		defer close(h.heard)
		for nodes, err := range r.Changes(ctx) {
			if err != nil {
				t.Logf("the feed yielded a passing trouble: %v", err)
				continue
			}
			select {
			case h.heard <- nodes:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range h.heard {
		}
	})
	return h
}

// told waits until the feed tells of p.
func (h *changes) told(t *testing.T, p registry.Pointer) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case nodes := <-h.heard:
			if nodes == nil || slices.Contains(nodes, p) {
				return
			}
		case <-deadline:
			t.Fatalf("nobody tells that %s has changed", p)
		}
	}
}

// reads reads p whenever the feed tells of it, until it reads as it should.
func (h *changes) reads(t *testing.T, r Registry, p registry.Pointer, ok func(registry.State) bool) {
	t.Helper()
	for {
		h.told(t, p)
		s, err := r.State(t.Context(), p)
		must(t, err)
		if ok(s) {
			return
		}
	}
}

func testChanges(t *testing.T, a, b Registry) {
	there, ok := b.(Changes)
	if !ok {
		return
	}
	create(t, a, b, blacklist.Pointer())
	create(t, a, b, users.Pointer())
	defer there.Follow(blacklist)()
	h := hear(t, there)
	h.reads(t, b, blacklist.Pointer(), func(s registry.State) bool { return s.Exists })
	defer there.Follow(greylist)()
	defer there.Follow(users)()
	h.reads(t, b, greylist.Pointer(), func(s registry.State) bool { return !s.Exists })

	want := advance(t, a, blacklist.Pointer(), "", v1)
	h.reads(t, b, blacklist.Pointer(), func(s registry.State) bool { return s == want })
	must(t, a.Create(t.Context(), greylist.Pointer()))
	h.reads(t, b, greylist.Pointer(), func(s registry.State) bool { return s.Exists })
	must(t, a.Delete(t.Context(), greylist.Pointer()))
	h.reads(t, b, greylist.Pointer(), func(s registry.State) bool { return !s.Exists })

	in := func(n int) {
		t.Helper()
		for {
			h.told(t, users.Pointer())
			if m := members(t, b, users).next(t); len(m.Members) == n {
				return
			}
		}
	}
	one := join(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	in(1)
	join(t, b, users, registry.Member{Endpoint: "10.0.0.2:9090"})
	in(2)
	one.left(t)
	in(1)
}

func testChangesLast(t *testing.T, a, b Registry) {
	there, ok := b.(Changes)
	if !ok {
		return
	}
	create(t, a, b, blacklist.Pointer())
	defer there.Follow(blacklist)()
	h := hear(t, there)
	h.reads(t, b, blacklist.Pointer(), func(s registry.State) bool { return s.Exists })
	var want registry.State
	for n := range 50 {
		want = advance(t, a, blacklist.Pointer(), want.Version, token(0, n))
	}
	h.reads(t, b, blacklist.Pointer(), func(s registry.State) bool { return s == want })
}

func testChangesTwice(t *testing.T, a, b Registry) {
	there, ok := b.(Changes)
	if !ok {
		return
	}
	create(t, a, b, blacklist.Pointer())
	one, two := hear(t, there), hear(t, there)
	stop, again := there.Follow(blacklist), there.Follow(blacklist)
	defer again()
	for _, h := range []*changes{one, two} {
		h.told(t, blacklist.Pointer())
	}
	stop()
	stop() // as a context's
	want := advance(t, a, blacklist.Pointer(), "", v1)
	for _, h := range []*changes{one, two} {
		h.reads(t, b, blacklist.Pointer(), func(s registry.State) bool { return s == want })
	}
}
