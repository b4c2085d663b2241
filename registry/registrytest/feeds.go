package registrytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var feedTests = map[string]func(t *testing.T, a, b Registry){
	"a feed begins with the present state":           testFeedBegins,
	"a feed of what does not exist waits for it":     testFeedMissing,
	"a feed sees a removal and a second life":        testFeedRemoval,
	"a feed that was not listened to skips states":   testFeedSkips,
	"a feed is not woken by other names":             testFeedOthers,
	"a feed follows a hundred changes in order":      testFeedOrder,
	"fifty feeds of one name see the same":           testFeedMany,
	"a feed ends when its consumer does":             testFeedBreak,
	"a feed ends when its ctx does":                  testFeedContext,
	"a feed may be ranged over twice":                testFeedTwice,
	"a feed may be consumed by one that also writes": testFeedWriter,
}

func testFeedBegins(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	want := advance(t, a, p, "", v1)
	if got := watch(t, a, p).next(t); got != want {
		t.Errorf("the feed begins with %+v, want %+v", got, want)
	}
	watch(t, b, p).until(t, "the same for the other client", func(s registry.State) bool { return s == want })
}

func testFeedMissing(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	here, there := watch(t, a, p), watch(t, b, p)
	for _, f := range []*follower[registry.State]{here, there} {
		if s := f.next(t); s.Exists || s.Version != "" {
			t.Errorf("the feed of what does not exist begins with %+v", s)
		}
	}
	must(t, a.Create(t.Context(), p))
	for _, f := range []*follower[registry.State]{here, there} {
		f.until(t, "its creation", func(s registry.State) bool { return s.Exists && s.Version == "" })
	}
	want := advance(t, b, p, "", v1)
	for _, f := range []*follower[registry.State]{here, there} {
		f.until(t, "its first version", func(s registry.State) bool { return s == want })
	}
}

func testFeedRemoval(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	first := advance(t, a, p, "", v1)
	feed := watch(t, b, p)
	feed.until(t, "its version", func(s registry.State) bool { return s == first })
	must(t, a.Delete(t.Context(), p))
	feed.until(t, "its removal", func(s registry.State) bool { return !s.Exists })
	must(t, a.Create(t.Context(), p))
	again := advance(t, a, p, "", v1) // the same version in another life is another state
	if again.Order <= first.Order {
		t.Errorf("its second life has order %d, its first had %d", again.Order, first.Order)
	}
	feed.until(t, "its second life", func(s registry.State) bool { return s == again })
}

func testFeedSkips(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	feed := watch(t, b, p)
	feed.until(t, "that it exists", func(s registry.State) bool { return s.Exists })
	var want registry.State
	for n := range 30 { // nobody takes what the feed yields meanwhile
		want = advance(t, a, p, want.Version, token(0, n))
	}
	feed.until(t, "the last of thirty", func(s registry.State) bool { return s == want })
}

func testFeedOthers(t *testing.T, a, b Registry) {
	p, other := blacklist.Pointer(), blacklist.Pointer()+"/europe"
	create(t, a, b, p)
	create(t, a, b, other)
	feed := watch(t, a, p)
	before := feed.next(t)
	var base registry.Version
	for n := range 10 {
		next := token(0, n)
		advance(t, a, other, base, next)
		base = next
	}
	want := advance(t, a, p, "", v1)
	if got := feed.next(t); got != want {
		t.Errorf("after %+v the feed yields %+v, want %+v", before, got, want)
	}
}

func testFeedOrder(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	feed := watch(t, b, p) // which checks that nothing older comes
	var written []registry.State
	var base registry.Version
	for n := range 100 {
		s, err := a.Advance(t.Context(), p, base, token(0, n), nil)
		must(t, err)
		written = append(written, s)
		base = s.Version
	}
	feed.until(t, "the last of a hundred", func(s registry.State) bool {
		if s.Version == "" {
			return false
		}
		for i, w := range written {
			if w == s {
				return i == len(written)-1
			}
		}
		t.Errorf("the feed yields %+v, which nobody wrote", s)
		return false
	})
}

func testFeedMany(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	feeds := make([]*follower[registry.State], 50)
	for i := range feeds {
		feeds[i] = watch(t, []Registry{a, b}[i%2], p)
	}
	for _, f := range feeds {
		f.until(t, "that it exists", func(s registry.State) bool { return s.Exists })
	}
	want := advance(t, a, p, "", v1)
	for _, f := range feeds {
		f.until(t, "the version", func(s registry.State) bool { return s == want })
	}
}

func testFeedBreak(t *testing.T, a, b Registry) {
	create(t, a, b, blacklist.Pointer())
	must(t, a.CreateDependency(t.Context(), "web.dep"))
	create(t, a, b, users.Pointer())
	for range a.Watch(t.Context(), blacklist.Pointer()) {
		break
	}
	for range a.Dependency(t.Context(), "web.dep") {
		break
	}
	for range a.Members(t.Context(), users) {
		break
	}
	advance(t, a, blacklist.Pointer(), "", v1) // with nobody there to hear of it
}

func testFeedContext(t *testing.T, a, b Registry) {
	create(t, a, b, blacklist.Pointer())
	for name, drain := range map[string]func(context.Context, func()){
		"a pointer": func(ctx context.Context, seen func()) {
			for range a.Watch(ctx, blacklist.Pointer()) {
				seen()
			}
		},
		"members": func(ctx context.Context, seen func()) {
			for range a.Members(ctx, users) {
				seen()
			}
		},
		"a dependency": func(ctx context.Context, seen func()) {
			for range a.Dependency(ctx, "web.dep") {
				seen()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				drain(ctx, sync.OnceFunc(func() { close(began) }))
			}()
			for _, step := range []struct {
				name string
				do   func()
				done chan struct{}
			}{
				{"begin", func() {}, began},
				{"end with its ctx", cancel, ended},
			} {
				step.do()
				select {
				case <-step.done:
				case <-time.After(patience):
					t.Fatalf("the feed does not %s", step.name)
				}
			}
		})
	}
}

func testFeedTwice(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	feed := a.Watch(t.Context(), p)
	for _, want := range []registry.Version{"", v1} {
		if want != "" {
			advance(t, a, p, "", want)
		}
		for s, err := range feed {
			if err != nil {
				continue
			}
			if !s.Exists || s.Version != want {
				t.Errorf("the feed begins with %+v, want version %q", s, want)
			}
			break
		}
	}
}

// testFeedWriter holds no lock over its consumer: mirrors publish from inside a feed.
func testFeedWriter(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the feed and its writer wait for each other"))
	defer cancel()
	n := 0
	for s, err := range a.Watch(ctx, p) {
		if err != nil {
			continue
		}
		if n == 10 {
			break
		}
		if _, err := a.Advance(ctx, p, s.Version, token(0, n), nil); err != nil {
			t.Fatal(fmt.Errorf("advance from %+v: %w", s, err))
		}
		n++
	}
	if n != 10 {
		t.Errorf("after %d versions: %v", n, context.Cause(ctx))
	}
}
