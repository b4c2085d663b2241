package registrytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

var dependencyTests = map[string]func(t *testing.T, a, b Registry){
	"a dependency is made, filled, emptied and removed": testDependencyLife,
	"a dependency that does not exist":                  testDependencyMissing,
	"an edge must lead somewhere":                       testDependencyTarget,
	"an edge outlives what it leads to":                 testDependencyDangling,
	"cycles are stored":                                 testDependencyCycle,
	"of eight who subscribe one does":                   testDependencyRace,
	"malformed dependencies and edges":                  testDependencyMalformed,
	"dependencies that begin alike are apart":           testDependencyAlike,
	"a dependency with five hundred edges":              testDependencyLarge,
}

// linked says which edges are expected.
func linked(want ...registry.Edge) func(registry.Edges) bool {
	return func(e registry.Edges) bool { return e.Exists && slices.Equal(e.Members, want) }
}

// register makes names that edges can lead to, and waits until b knows them.
func register(t *testing.T, a, b Registry, names ...registry.Name) {
	t.Helper()
	for _, n := range names {
		create(t, a, b, n.Metaconfig())
	}
}

// depend makes dependencies and waits until b knows them.
func depend(t *testing.T, a, b Registry, dependencies ...registry.Dependency) {
	t.Helper()
	for _, d := range dependencies {
		must(t, a.CreateDependency(t.Context(), d))
		f := edges(t, b, d)
		f.until(t, "that "+string(d)+" exists", linked())
		f.end(t)
	}
}

func testDependencyLife(t *testing.T, a, b Registry) {
	ctx := t.Context()
	register(t, a, b, blacklist, users)
	feed := edges(t, b, "web.dep")
	feed.until(t, "that there is none", func(e registry.Edges) bool { return !e.Exists && len(e.Members) == 0 })
	depend(t, a, b, "web.dep", "base.dep")
	empty := feed.until(t, "its creation", linked())
	refused(t, a.CreateDependency(ctx, "web.dep"), registry.ErrExist, "make it again")

	must(t, a.Link(ctx, "web.dep", registry.Edge(users)))
	one := feed.until(t, "one edge", linked(registry.Edge(users)))
	must(t, b.Link(ctx, "web.dep", registry.Edge(blacklist)))
	must(t, b.Link(ctx, "web.dep", "base.dep"))
	three := feed.until(t, "three edges, sorted", linked("base.dep", registry.Edge(blacklist), registry.Edge(users)))
	refused(t, a.Link(ctx, "web.dep", "base.dep"), registry.ErrExist, "link an edge again")
	refused(t, a.DeleteDependency(ctx, "web.dep"), registry.ErrNotEmpty, "remove it with its edges")

	for _, e := range three.Members {
		must(t, a.Unlink(ctx, "web.dep", e))
		refused(t, a.Unlink(ctx, "web.dep", e), registry.ErrNotExist, "unlink an edge again")
	}
	again := feed.until(t, "no edge", linked())
	if one.Order <= empty.Order || three.Order <= one.Order || again.Order <= three.Order {
		t.Errorf("orders %d, %d, %d, %d do not grow", empty.Order, one.Order, three.Order, again.Order)
	}
	must(t, a.DeleteDependency(ctx, "web.dep"))
	feed.until(t, "its removal", func(e registry.Edges) bool { return !e.Exists && len(e.Members) == 0 })
	refused(t, a.DeleteDependency(ctx, "web.dep"), registry.ErrNotExist, "remove it again")
	must(t, a.CreateDependency(ctx, "web.dep"))
	feed.until(t, "its second life", linked())
	eventually(t, func() error {
		want := []registry.Dependency{"base.dep", "web.dep"}
		if got, err := b.Dependencies(ctx); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("dependencies: %q, %v, want %q", got, err, want)
		}
		return nil
	})
}

func testDependencyMissing(t *testing.T, a, b Registry) {
	ctx := t.Context()
	register(t, a, b, blacklist)
	if d, err := a.Dependencies(ctx); err != nil || len(d) != 0 {
		t.Errorf("the dependencies of an empty registry: %q, %v", d, err)
	}
	refused(t, a.Link(ctx, "web.dep", registry.Edge(blacklist)), registry.ErrNotExist, "link")
	refused(t, a.Unlink(ctx, "web.dep", registry.Edge(blacklist)), registry.ErrNotExist, "unlink")
	refused(t, a.DeleteDependency(ctx, "web.dep"), registry.ErrNotExist, "remove")
	if e := edges(t, a, "web.dep").next(t); e.Exists {
		t.Errorf("what was refused made %+v", e)
	}
}

func testDependencyTarget(t *testing.T, a, b Registry) {
	ctx := t.Context()
	depend(t, a, b, "web.dep")
	create(t, a, b, blacklist.Pointer()) // a pointer alone is no name
	refused(t, a.Link(ctx, "web.dep", registry.Edge(blacklist)), registry.ErrNotExist, "link a name without metaconfig")
	refused(t, a.Link(ctx, "web.dep", "base.dep"), registry.ErrNotExist, "link a dependency that does not exist")
	register(t, a, b, blacklist)
	must(t, b.Link(ctx, "web.dep", registry.Edge(blacklist)))
}

func testDependencyDangling(t *testing.T, a, b Registry) {
	ctx := t.Context()
	register(t, a, b, blacklist)
	depend(t, a, b, "web.dep", "base.dep")
	must(t, a.Link(ctx, "web.dep", registry.Edge(blacklist)))
	must(t, a.Link(ctx, "web.dep", "base.dep"))
	must(t, a.Delete(ctx, blacklist.Metaconfig()))
	must(t, a.DeleteDependency(ctx, "base.dep"))
	edges(t, b, "web.dep").until(t, "both edges", linked("base.dep", registry.Edge(blacklist)))
	must(t, a.Unlink(ctx, "web.dep", registry.Edge(blacklist)))
	must(t, a.Unlink(ctx, "web.dep", "base.dep"))
	edges(t, b, "web.dep").until(t, "no edges", linked())
}

func testDependencyCycle(t *testing.T, a, b Registry) {
	ctx := t.Context()
	depend(t, a, b, "a.dep", "b.dep")
	must(t, a.Link(ctx, "a.dep", "b.dep"))
	must(t, a.Link(ctx, "b.dep", "a.dep"))
	must(t, a.Link(ctx, "a.dep", "a.dep"))
	edges(t, b, "a.dep").until(t, "both edges", linked("a.dep", "b.dep"))
	edges(t, b, "b.dep").until(t, "its edge", linked("a.dep"))
}

func testDependencyRace(t *testing.T, a, b Registry) {
	register(t, a, b, blacklist)
	depend(t, a, b, "web.dep")
	linked := make(chan int, writers)
	race(a, b, func(writer int, r Registry) {
		if err := r.Link(t.Context(), "web.dep", registry.Edge(blacklist)); err == nil {
			linked <- writer
		} else {
			refused(t, err, registry.ErrExist, "link an edge that another has linked")
		}
	})
	if len(linked) != 1 {
		t.Errorf("%d of %d have linked it", len(linked), writers)
	}
}

func testDependencyMalformed(t *testing.T, a, b Registry) {
	ctx := t.Context()
	for _, d := range []registry.Dependency{"", "web", ".dep", "a/b.dep", "a b.dep", "a\x00.dep", "../web.dep", registry.Dependency(strings.Repeat("a", 300) + ".dep")} {
		refused(t, a.CreateDependency(ctx, d), registry.ErrInvalid, fmt.Sprintf("create %.40q", d))
	}
	depend(t, a, b, "web.dep")
	for _, e := range []registry.Edge{"", "web", "config", "config..a", "config.a/b", "config.a\x00b", "discovery.user", "a/b.dep"} {
		refused(t, a.Link(ctx, "web.dep", e), registry.ErrInvalid, fmt.Sprintf("link %.40q", e))
	}
	if e := edges(t, a, "web.dep").next(t); len(e.Members) != 0 {
		t.Errorf("what was refused is there: %+v", e)
	}
}

func testDependencyAlike(t *testing.T, a, b Registry) {
	ctx := t.Context()
	register(t, a, b, blacklist, greylist)
	depend(t, a, b, "web.dep", "web.dep.dep", "we.dep")
	must(t, a.Link(ctx, "web.dep", registry.Edge(blacklist)))
	must(t, a.Link(ctx, "web.dep.dep", registry.Edge(greylist)))
	edges(t, b, "web.dep").until(t, "its own edge", linked(registry.Edge(blacklist)))
	edges(t, b, "web.dep.dep").until(t, "its own edge", linked(registry.Edge(greylist)))
	edges(t, b, "we.dep").until(t, "no edge", linked())
	must(t, a.DeleteDependency(ctx, "we.dep"))
}

func testDependencyLarge(t *testing.T, a, b Registry) {
	depend(t, a, b, "web.dep")
	var want []registry.Edge
	for i := range 500 {
		want = append(want, registry.Edge(fmt.Sprintf("config.manageddata.many.key%03d", i)))
	}
	// Eight at a time: it is the number of edges that is tried here, not patience.
	race(a, a, func(writer int, r Registry) {
		for i := writer; i < len(want); i += writers {
			name, _ := want[i].Name()
			if err := r.Create(t.Context(), name.Metaconfig()); err != nil {
				t.Errorf("create %s: %v", name, err)
			}
			if err := r.Link(t.Context(), "web.dep", want[i]); err != nil {
				t.Errorf("link %s: %v", name, err)
			}
		}
	})
	edges(t, b, "web.dep").until(t, "all edges", linked(want...))
}
