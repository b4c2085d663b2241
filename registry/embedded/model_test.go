package embedded_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"pgregory.net/rapid"
)

// model is what a registry should answer, kept in maps.
type model struct {
	versions map[registry.Pointer]registry.Version
	edges    map[registry.Dependency]map[registry.Edge]bool
	bodies   map[string]string
	orders   map[registry.Pointer]registry.Order // the latest that was seen of a node, in any of its lives
}

// TestAgainstAModel does what comes to mind, opens the file again now and then, and expects the registry to answer like a few maps.
func TestAgainstAModel(t *testing.T) {
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, string(version(runs)))
		r, err := embedded.Open(path, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { r.Close() }()
		m := model{
			versions: make(map[registry.Pointer]registry.Version),
			edges:    make(map[registry.Dependency]map[registry.Edge]bool),
			bodies:   make(map[string]string),
			orders:   make(map[registry.Pointer]registry.Order),
		}
		actions := m.pointerActions(&r)
		maps.Copy(actions, m.dependencyActions(&r))
		actions["reopen"] = func(t *rapid.T) {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err = embedded.Open(path, embedded.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		actions[""] = func(t *rapid.T) { m.compare(t, r) }
		t.Repeat(actions)
	})
}

var (
	somePointer    = rapid.SampledFrom([]registry.Pointer{blacklist.Pointer(), blacklist.Pointer() + "/eu", blacklist.Metaconfig(), users.Metaconfig()})
	someVersion    = rapid.SampledFrom([]registry.Version{"", version(1), version(2), version(3)})
	someDependency = rapid.SampledFrom([]registry.Dependency{"web.dep", "base.dep", "we.dep"})
	someEdge       = rapid.SampledFrom([]registry.Edge{"web.dep", "base.dep", registry.Edge(blacklist), registry.Edge(users)})
	someKey        = rapid.SampledFrom([]string{"a", "a/b", "b"})
	someBytes      = rapid.SampledFrom([]string{"", "x", "y", string(garbage(70_000))})
)

// expect compares an error with the one that should be.
func expect(t *rapid.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

// either is the first error whose condition holds.
func either(conditions ...any) error {
	for i := 0; i < len(conditions); i += 2 {
		if conditions[i].(bool) {
			return conditions[i+1].(error)
		}
	}
	return nil
}

func (m *model) pointerActions(r **embedded.Registry) map[string]func(*rapid.T) {
	ctx := context.Background()
	return map[string]func(*rapid.T){
		"create": func(t *rapid.T) {
			p := somePointer.Draw(t, "pointer")
			_, exists := m.versions[p]
			want := either(exists, registry.ErrExist)
			expect(t, (*r).Create(ctx, p), want)
			if want == nil {
				m.versions[p] = ""
			}
		},
		"delete": func(t *rapid.T) {
			p := somePointer.Draw(t, "pointer")
			_, exists := m.versions[p]
			_, below := m.versions[p+"/eu"]
			want := either(!exists, registry.ErrNotExist, below, registry.ErrNotEmpty)
			expect(t, (*r).Delete(ctx, p), want)
			if want == nil {
				delete(m.versions, p)
			}
		},
		"advance": func(t *rapid.T) {
			p, base, next := somePointer.Draw(t, "pointer"), someVersion.Draw(t, "base"), someVersion.Draw(t, "next")
			present, exists := m.versions[p]
			want := either(next == "" || next == base, registry.ErrInvalid, !exists, registry.ErrNotExist, present != base, registry.ErrConflict)
			s, err := (*r).Advance(ctx, p, base, next, nil)
			expect(t, err, want)
			if want == nil {
				m.versions[p] = next
				if s.Order <= m.orders[p] {
					t.Fatalf("order %d after %d", s.Order, m.orders[p])
				}
			}
		},
		"put": func(t *rapid.T) {
			key, data := someKey.Draw(t, "key"), someBytes.Draw(t, "data")
			stored, exists := m.bodies[key]
			want := either(exists && stored != data, registry.ErrExist)
			expect(t, (*r).Put(ctx, key, registry.Body{Data: []byte(data)}), want)
			if want == nil {
				m.bodies[key] = data
			}
		},
	}
}

func (m *model) dependencyActions(r **embedded.Registry) map[string]func(*rapid.T) {
	ctx := context.Background()
	return map[string]func(*rapid.T){
		"create dependency": func(t *rapid.T) {
			d := someDependency.Draw(t, "dependency")
			want := either(m.edges[d] != nil, registry.ErrExist)
			expect(t, (*r).CreateDependency(ctx, d), want)
			if want == nil {
				m.edges[d] = make(map[registry.Edge]bool)
			}
		},
		"delete dependency": func(t *rapid.T) {
			d := someDependency.Draw(t, "dependency")
			want := either(m.edges[d] == nil, registry.ErrNotExist, len(m.edges[d]) > 0, registry.ErrNotEmpty)
			expect(t, (*r).DeleteDependency(ctx, d), want)
			if want == nil {
				delete(m.edges, d)
			}
		},
		"link": func(t *rapid.T) {
			d, e := someDependency.Draw(t, "dependency"), someEdge.Draw(t, "edge")
			name, isName := e.Name()
			_, leads := m.versions[name.Metaconfig()]
			if !isName {
				leads = m.edges[registry.Dependency(e)] != nil
			}
			want := either(m.edges[d] == nil, registry.ErrNotExist, m.edges[d][e], registry.ErrExist, !leads, registry.ErrNotExist)
			expect(t, (*r).Link(ctx, d, e), want)
			if want == nil {
				m.edges[d][e] = true
			}
		},
		"unlink": func(t *rapid.T) {
			d, e := someDependency.Draw(t, "dependency"), someEdge.Draw(t, "edge")
			want := either(!m.edges[d][e], registry.ErrNotExist)
			expect(t, (*r).Unlink(ctx, d, e), want)
			if want == nil {
				delete(m.edges[d], e)
			}
		},
	}
}

// compare reads everything.
func (m *model) compare(t *rapid.T, r *embedded.Registry) {
	ctx := context.Background()
	var names []registry.Name
	for _, p := range []registry.Pointer{blacklist.Pointer(), blacklist.Pointer() + "/eu", blacklist.Metaconfig(), users.Metaconfig()} {
		s, err := r.State(ctx, p)
		want, exists := m.versions[p]
		if err != nil || s.Exists != exists || s.Version != want || exists && s.Order < m.orders[p] {
			t.Fatalf("%s is %+v, %v, want %v, %q and an order from %d", p, s, err, exists, want, m.orders[p])
		}
		m.orders[p] = max(m.orders[p], s.Order)
		if exists && p == blacklist.Metaconfig() {
			names = append(names, blacklist)
		}
		if exists && p == users.Metaconfig() {
			names = append(names, users)
		}
	}
	if got, err := r.Names(ctx); err != nil || !slices.Equal(got, names) {
		t.Fatalf("names %q, %v, want %q", got, err, names)
	}
	if got, err := r.Dependencies(ctx); err != nil || !slices.Equal(got, slices.Sorted(maps.Keys(m.edges))) {
		t.Fatalf("dependencies %q, %v, want %q", got, err, slices.Sorted(maps.Keys(m.edges)))
	}
	for _, d := range []registry.Dependency{"web.dep", "base.dep", "we.dep"} {
		for e, err := range r.Dependency(ctx, d) {
			if err != nil || e.Exists != (m.edges[d] != nil) || !slices.Equal(e.Members, slices.Sorted(maps.Keys(m.edges[d]))) {
				t.Fatalf("%s is %+v, %v, want %v", d, e, err, m.edges[d])
			}
			break
		}
	}
	for _, key := range []string{"a", "a/b", "b"} {
		b, err := r.Fetch(ctx, key)
		if want, exists := m.bodies[key]; exists != (err == nil) || string(b.Data) != want {
			t.Fatalf("the body %s is %.20q, %v, want %v", key, b.Data, err, exists)
		}
	}
}
