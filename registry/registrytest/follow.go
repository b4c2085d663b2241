package registrytest

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// patience is how long a test waits for what must come at some time. Nothing waits as long as this but a test that fails.
const patience = 30 * time.Second

// eventually calls check until it returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-retry.C:
		case <-deadline.C:
			t.Fatalf("still, after %v: %v", patience, err)
		}
	}
}

// present is what the three kinds of feeds have in common.
type present struct {
	exists bool
	order  registry.Order
}

func presentState(s registry.State) present           { return present{s.Exists, s.Order} }
func presentMembership(m registry.Membership) present { return present{m.Exists, m.Order} }
func presentEdges(e registry.Edges) present           { return present{e.Exists, e.Order} }

// follower consumes one feed in a goroutine of its own, and checks what holds for every feed: that nothing is yielded twice in a
// row, and nothing older than before.
type follower[T any] struct {
	values chan T
	stop   context.CancelFunc
	ended  chan struct{}
}

func follow[T any](t *testing.T, feed func(context.Context) iter.Seq2[T, error], look func(T) present) *follower[T] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower[T]{values: make(chan T), stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		var last *T
		var newest present
		for v, err := range feed(ctx) {
			if err != nil {
				t.Logf("the feed yielded a passing trouble: %v", err)
				last = nil
				continue
			}
			now := look(v)
			if last != nil && reflect.DeepEqual(*last, v) {
				t.Errorf("the feed yielded %+v twice in a row", v)
			}
			if now.exists && newest.exists && now.order < newest.order {
				t.Errorf("the feed yielded order %d after %d", now.order, newest.order)
			}
			if now.exists {
				newest = now
			}
			last = &v
			select {
			case f.values <- v:
			case <-ctx.Done():
			}
		}
		if ctx.Err() == nil {
			t.Errorf("the feed ended although nobody had asked it to")
		}
	}()
	t.Cleanup(func() { f.end(t) })
	return f
}

// next is what the feed yields next.
func (f *follower[T]) next(t *testing.T) T {
	t.Helper()
	select {
	case v := <-f.values:
		return v
	case <-time.After(patience):
		t.Fatalf("the feed yielded nothing for %v", patience)
		panic("unreachable")
	}
}

// until returns the first state that ok accepts; others in between are as good as skipped.
func (f *follower[T]) until(t *testing.T, what string, ok func(T) bool) T {
	t.Helper()
	deadline := time.After(patience)
	var last any = "nothing"
	for {
		select {
		case v := <-f.values:
			if ok(v) {
				return v
			}
			last = v
		case <-deadline:
			t.Fatalf("the feed never yielded %s; the last was %+v", what, last)
		}
	}
}

// end waits until the feed has ended because its ctx has.
func (f *follower[T]) end(t *testing.T) {
	t.Helper()
	f.stop()
	select {
	case <-f.ended:
	case <-time.After(patience):
		t.Errorf("the feed did not end with its ctx")
	}
}

func watch(t *testing.T, r Registry, p registry.Pointer) *follower[registry.State] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.State, error] { return r.Watch(ctx, p) }, presentState)
}

func members(t *testing.T, r Registry, n registry.Name) *follower[registry.Membership] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.Membership, error] { return r.Members(ctx, n) }, presentMembership)
}

func edges(t *testing.T, r Registry, d registry.Dependency) *follower[registry.Edges] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.Edges, error] { return r.Dependency(ctx, d) }, presentEdges)
}

// must fails the test at once if a step of it did not work.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that a step was refused for the reason it should be.
func refused(t *testing.T, err, want error, step string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", step, err, want)
	}
}

// create makes a pointer as a and waits until b knows it.
func create(t *testing.T, a, b Registry, p registry.Pointer) {
	t.Helper()
	must(t, a.Create(t.Context(), p))
	f := watch(t, b, p)
	f.until(t, "that "+string(p)+" exists", func(s registry.State) bool { return s.Exists })
	f.end(t)
}

// advance moves a pointer and returns the new state.
func advance(t *testing.T, r Registry, p registry.Pointer, base, next registry.Version) registry.State {
	t.Helper()
	s, err := r.Advance(t.Context(), p, base, next, nil)
	if err != nil {
		t.Fatalf("advance %s from %q to %q: %v", p, base, next, err)
	}
	if !s.Exists || s.Version != next {
		t.Fatalf("advance %s from %q to %q returned %+v", p, base, next, s)
	}
	return s
}
