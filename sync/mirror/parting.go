package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// ZooKeeper deletes no node that has children. So whoever deletes a dependency by accident, with zkCli's deleteall for one, takes out its
// members first, one by one, and that looks like leaving it. What was taken out lately is therefore remembered for as long as the files
// stay anyway: if the dependency's own node is deleted after it, none of it was meant.

// parting is an edge that was taken out of a dependency.
type parting struct {
	edge registry.Edge
	at   time.Time
}

// part notes what is no longer among the edges. Those that are back are forgotten, and those that left before since.
func (d *dependency) part(edges []registry.Edge, now, since time.Time) {
	here := make(map[registry.Edge]bool, len(edges))
	for _, edge := range edges {
		here[edge] = true
	}
	d.parted = slices.DeleteFunc(d.parted, func(p parting) bool { return here[p.edge] || p.at.Before(since) })
	for _, edge := range d.edges {
		if !here[edge] {
			d.parted = append(d.parted, parting{edge, now})
		}
	}
}

// withParted is the edges of a dependency that was deleted: those it had, and those that left just before.
func (d *dependency) withParted(since time.Time) []registry.Edge {
	edges := slices.Clone(d.edges)
	for _, p := range d.parted {
		if !p.at.Before(since) {
			edges = append(edges, p.edge)
		}
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// depart ends following a dependency that nothing reaches. It is kept for a while: what held it may have been deleted. The caller holds
// mu.
func (m *Mirror) depart(d *dependency, now time.Time) {
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
	delete(m.dependencies, d.name)
	maps.DeleteFunc(m.departed, func(_ registry.Dependency, d *dependency) bool { return now.Sub(d.left) > m.o.Grace })
	d.left = now
	m.departed[d.name] = d
}

// regain is the named dependency, which something holds: followed from now on, and as it was if that was so a moment ago. The caller holds
// mu.
func (m *Mirror) regain(ctx context.Context, name registry.Dependency, now time.Time) *dependency {
	if d := m.departed[name]; d != nil {
		if m.dependencies[name] == nil && now.Sub(d.left) <= m.o.Grace {
			m.dependencies[name] = d
		}
		delete(m.departed, name)
	}
	return m.dependency(ctx, name)
}

// Deleted are the dependencies whose members stay, though their node was deleted, sorted.
func (m *Mirror) Deleted() []registry.Dependency {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []registry.Dependency
	for name, d := range m.dependencies {
		if d.held {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// keepsake is what stays of a dependency that was deleted.
type keepsake struct {
	name  registry.Dependency
	edges []registry.Edge
}

// kept is what stays of a dependency, with those below it, which come before it: that they were deleted too may not have been heard yet.
// Nothing, if it was not deleted itself.
func (m *Mirror) kept(dep registry.Dependency) []keepsake {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []keepsake
	seen := map[registry.Dependency]bool{}
	var visit func(registry.Dependency)
	visit = func(name registry.Dependency) {
		d := m.dependencies[name]
		if d == nil || seen[name] {
			return
		}
		seen[name] = true
		edges := d.withParted(time.Now().Add(-m.o.Grace))
		for _, edge := range edges {
			if nested, ok := edge.Dependency(); ok {
				visit(nested)
			}
		}
		all = append(all, keepsake{name, edges})
	}
	if d := m.dependencies[dep]; d != nil && d.held {
		visit(dep)
	}
	return all
}

// refill makes those again that were deleted below a dependency which was made again, and puts into all of them what was kept. Who hears
// of it in between keeps the names for their grace.
func (m *Mirror) refill(ctx context.Context, dep registry.Dependency, kept []keepsake) error {
	var errs []error
	for _, k := range kept {
		if k.name != dep {
			if err := m.registry.CreateDependency(ctx, k.name); err != nil {
				if !errors.Is(err, registry.ErrExist) { // else somebody knows better what is to be in it
					errs = append(errs, fmt.Errorf("make %s: %w", k.name, inTime(err)))
				}
				continue
			}
		}
		for _, edge := range k.edges {
			if err := m.registry.Link(ctx, k.name, edge); err != nil && !errors.Is(err, registry.ErrExist) {
				errs = append(errs, fmt.Errorf("%s was made, but without %s: %w", k.name, edge, inTime(err)))
			}
		}
	}
	return errors.Join(errs...)
}
