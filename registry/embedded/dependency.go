package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// Dependency yields the edges of a dependency as Watch does the state of a pointer.
func (r *Registry) Dependency(ctx context.Context, d registry.Dependency) iter.Seq2[registry.Edges, error] {
	return feed(ctx, r, d.Pointer(), func() (registry.Edges, error) { return r.edges(d) },
		func(a, b registry.Edges) bool {
			return a.Exists == b.Exists && a.Order == b.Order // the edges cannot change without the order
		})
}

func (r *Registry) edges(d registry.Dependency) (e registry.Edges, err error) {
	err = r.view(func(v *view) error {
		order, ok, err := v.dependency(d)
		if !ok || err != nil {
			return err
		}
		e = registry.Edges{Exists: true, Order: order}
		for edge := range v.keys(edgesBucket, edgeKey(d, "")) {
			e.Members = append(e.Members, registry.Edge(edge))
		}
		return nil
	})
	return e, err
}

// Dependencies are all of them, sorted.
func (r *Registry) Dependencies(ctx context.Context) ([]registry.Dependency, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var dependencies []registry.Dependency
	err := r.view(func(v *view) error {
		for key := range v.keys(dependenciesBucket, nil) {
			dependencies = append(dependencies, registry.Dependency(key))
		}
		return nil
	})
	return dependencies, err
}

// CreateDependency makes an empty dependency. ErrExist if there is one.
func (r *Registry) CreateDependency(ctx context.Context, d registry.Dependency) error {
	if _, err := registry.ParseDependency(string(d)); err != nil {
		return err
	}
	return r.commit(ctx, d.Pointer(), 0, func(u *update) error {
		if _, ok, err := u.dependency(d); err != nil {
			return err
		} else if ok {
			return fmt.Errorf("create %s: %w", d, registry.ErrExist)
		}
		u.touch(d)
		return nil
	})
}

// DeleteDependency removes an empty dependency. ErrNotExist; ErrNotEmpty while it has edges.
func (r *Registry) DeleteDependency(ctx context.Context, d registry.Dependency) error {
	return r.commit(ctx, d.Pointer(), 0, func(u *update) error {
		if err := u.mustExist(d); err != nil {
			return fmt.Errorf("delete %s: %w", d, err)
		}
		for range u.keys(edgesBucket, edgeKey(d, "")) {
			return fmt.Errorf("delete %s: %w", d, registry.ErrNotEmpty)
		}
		u.delete(dependenciesBucket, []byte(d))
		return nil
	})
}

// Link adds an edge to a dependency. ErrNotExist if there is no such dependency, or nothing that the edge leads to;
// ErrExist if it is there already. Cycles are stored.
func (r *Registry) Link(ctx context.Context, d registry.Dependency, e registry.Edge) error {
	if _, err := registry.ParseEdge(string(e)); err != nil {
		return err
	}
	return r.commit(ctx, d.Pointer(), 0, func(u *update) error {
		if err := u.mustExist(d); err != nil {
			return fmt.Errorf("link %s to %s: %w", e, d, err)
		}
		linked, err := u.value(edgesBucket, edgeKey(d, e))
		if err != nil {
			return err
		}
		if linked != nil {
			return fmt.Errorf("link %s to %s: %w", e, d, registry.ErrExist)
		}
		if err := u.target(e); err != nil {
			return fmt.Errorf("link %s to %s: %w", e, d, err)
		}
		u.put(edgesBucket, edgeKey(d, e), []byte{})
		u.touch(d)
		return nil
	})
}

// Unlink removes an edge from a dependency. ErrNotExist if there is no such dependency or no such edge.
func (r *Registry) Unlink(ctx context.Context, d registry.Dependency, e registry.Edge) error {
	return r.commit(ctx, d.Pointer(), 0, func(u *update) error {
		if err := u.mustExist(d); err != nil {
			return fmt.Errorf("unlink %s from %s: %w", e, d, err)
		}
		linked, err := u.value(edgesBucket, edgeKey(d, e))
		if err != nil {
			return err
		}
		if linked == nil {
			return fmt.Errorf("unlink %s from %s: it is not linked: %w", e, d, registry.ErrNotExist)
		}
		u.delete(edgesBucket, edgeKey(d, e))
		u.touch(d)
		return nil
	})
}

func edgeKey(d registry.Dependency, e registry.Edge) []byte {
	return slices.Concat([]byte(d), []byte{0}, []byte(e))
}

// dependency is the order of its last change; ok is false if there is none.
func (v *view) dependency(d registry.Dependency) (order registry.Order, ok bool, err error) {
	value, err := v.value(dependenciesBucket, []byte(d))
	if value == nil || err != nil {
		return 0, false, err
	}
	if len(value) != 8 {
		return 0, false, damaged(v.path, "an order that is not 8 bytes")
	}
	return registry.Order(binary.BigEndian.Uint64(value)), true, nil
}

func (v *view) mustExist(d registry.Dependency) error {
	_, ok, err := v.dependency(d)
	if err == nil && !ok {
		return fmt.Errorf("dependency %s: %w", d, registry.ErrNotExist)
	}
	return err
}

// target checks that an edge leads somewhere: a name leads to its metaconfig.
func (v *view) target(e registry.Edge) error {
	if d, ok := e.Dependency(); ok {
		return v.mustExist(d)
	}
	name, _ := e.Name()
	_, ok, err := v.node(name.Metaconfig())
	if err == nil && !ok {
		return fmt.Errorf("name %s: %w", name, registry.ErrNotExist)
	}
	return err
}

// touch gives a dependency its next order.
func (u *update) touch(d registry.Dependency) {
	u.put(dependenciesBucket, []byte(d), uint64Bytes(uint64(u.take())))
}
