package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Subscribe adds members to a dependency: everybody who follows it follows them from now on. It returns when this machine shows
// them, if it follows the dependency. A member that is there already is fine; what would make the graph a circle is ErrInvalid, what does
// not exist ErrNotExist, and then nothing was added.
func (m *Mirror) Subscribe(ctx context.Context, dep registry.Dependency, edges ...registry.Edge) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.PublishTimeout)
	defer cancel()
	for _, edge := range edges {
		if _, err := registry.ParseEdge(string(edge)); err != nil {
			return err
		}
	}
	if _, err := m.mustHave(ctx, dep); err != nil {
		return err
	}
	for _, edge := range edges {
		if err := m.checkTarget(ctx, dep, edge); err != nil {
			return err
		}
	}
	for _, edge := range edges {
		err := m.registry.Link(ctx, dep, edge)
		if err != nil && !errors.Is(err, registry.ErrExist) {
			return fmt.Errorf("add %s to %s: %w", edge, dep, inTime(err))
		}
	}
	m.log.Info("members added", "name", dep, "members", edges)
	m.lookAgain(ctx, dep)
	m.await(ctx, func() bool { return m.shows(dep, edges, true) })
	return nil
}

// Unsubscribe removes members from a dependency, as Subscribe adds them. ErrNotExist, with nothing removed, if one is not in it.
func (m *Mirror) Unsubscribe(ctx context.Context, dep registry.Dependency, edges ...registry.Edge) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.PublishTimeout)
	defer cancel()
	present, err := m.mustHave(ctx, dep)
	if err != nil {
		return err
	}
	for _, edge := range edges {
		if !slices.Contains(present.Members, edge) {
			return fmt.Errorf("%s is not in %s: %w", edge, dep, registry.ErrNotExist)
		}
	}
	for _, edge := range edges {
		err := m.registry.Unlink(ctx, dep, edge)
		if err != nil && !errors.Is(err, registry.ErrNotExist) {
			return fmt.Errorf("remove %s from %s: %w", edge, dep, inTime(err))
		}
	}
	m.log.Info("members removed", "name", dep, "members", edges)
	m.lookAgain(ctx, dep)
	m.await(ctx, func() bool { return m.shows(dep, edges, false) })
	return nil
}

// CreateDependency makes an empty dependency. Nobody follows it before it is somebody's --dependency or a member of what he follows. One
// that was deleted while this machine followed it has the members that were kept.
func (m *Mirror) CreateDependency(ctx context.Context, dep registry.Dependency) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.PublishTimeout)
	defer cancel()
	if _, err := registry.ParseDependency(string(dep)); err != nil {
		return err
	}
	kept := m.kept(dep)
	err := m.registry.CreateDependency(ctx, dep)
	if errors.Is(err, registry.ErrExist) {
		return fmt.Errorf("%s exists: %w", dep, registry.ErrExist)
	} else if err != nil {
		return fmt.Errorf("create %s: %w", dep, inTime(err))
	}
	m.log.Info("dependency created", "name", dep, "kept", len(kept))
	if err := m.refill(ctx, dep, kept); err != nil {
		return err
	}
	m.lookAgain(ctx, dep)
	m.await(ctx, func() bool { _, shown := m.shown[dep]; return shown || m.dependencies[dep] == nil })
	return nil
}

// DeleteDependency removes a dependency that has no members and is nobody's member.
func (m *Mirror) DeleteDependency(ctx context.Context, dep registry.Dependency) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.PublishTimeout)
	defer cancel()
	if dep == registry.BaseDependency {
		return fmt.Errorf("every machine follows %s: %w", dep, registry.ErrInvalid)
	}
	if slices.Contains(m.o.Dependencies, dep) {
		return fmt.Errorf("%s is what this machine was told to follow (--dependency): %w", dep, registry.ErrInvalid)
	}
	holder, err := m.holderOf(ctx, dep)
	if err != nil {
		return err
	}
	if holder != "" {
		return fmt.Errorf("%s is in %s; first: kingpin dep rm %s %s: %w", dep, holder, holder, dep, registry.ErrInvalid)
	}
	err = m.registry.DeleteDependency(ctx, dep)
	switch {
	case errors.Is(err, registry.ErrNotEmpty):
		return fmt.Errorf("%s still has members, kingpin dep rm removes them: %w", dep, registry.ErrNotEmpty)
	case errors.Is(err, registry.ErrNotExist):
		return fmt.Errorf("there is no dependency %s: %w", dep, registry.ErrNotExist)
	case err != nil:
		return fmt.Errorf("delete %s: %w", dep, inTime(err))
	}
	m.log.Info("dependency deleted", "name", dep)
	m.mu.Lock()
	m.dismiss(dep)
	m.mu.Unlock()
	m.lookAgain(ctx, dep)
	m.await(ctx, func() bool { _, shown := m.shown[dep]; return !shown })
	return nil
}

// listTimeout bounds a listing: less than the ten seconds that a verb waits, so that its words are about the registry, which is away, and
// not about the monitor, which answers.
const listTimeout = 8 * time.Second

// Names lists every name of the registry, followed here or not.
func (m *Mirror) Names(ctx context.Context) ([]registry.Name, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	names, err := m.registry.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the names of the registry: %w", inTime(err))
	}
	return names, nil
}

// Dependencies lists every dependency of the registry, followed here or not.
func (m *Mirror) Dependencies(ctx context.Context) ([]registry.Dependency, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	dependencies, err := m.registry.Dependencies(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the dependencies of the registry: %w", inTime(err))
	}
	return dependencies, nil
}

// Edges are the members of any dependency of the registry, also those that lead nowhere or are not well-formed. ErrNotExist.
func (m *Mirror) Edges(ctx context.Context, dep registry.Dependency) ([]registry.Edge, error) {
	edges, err := m.mustHave(ctx, dep)
	return edges.Members, err
}

// edges asks the registry for the members of a dependency.
func (m *Mirror) edges(ctx context.Context, dep registry.Dependency) (registry.Edges, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	edges, err := first(ctx, m.registry.Dependency(ctx, dep))
	if err != nil {
		return registry.Edges{}, fmt.Errorf("ask the registry about %s: %w", dep, inTime(err))
	}
	return edges, nil
}

// mustHave is edges of a dependency that exists.
func (m *Mirror) mustHave(ctx context.Context, dep registry.Dependency) (registry.Edges, error) {
	if _, err := registry.ParseDependency(string(dep)); err != nil {
		return registry.Edges{}, err
	}
	edges, err := m.edges(ctx, dep)
	if err == nil && !edges.Exists && m.o.Create && slices.Contains(m.o.Dependencies, dep) {
		// It is about to be made: whoever comes just after the start need not wait for that.
		if err := m.registry.CreateDependency(ctx, dep); err != nil && !errors.Is(err, registry.ErrExist) {
			return edges, fmt.Errorf("make %s: %w", dep, inTime(err))
		}
		edges, err = m.edges(ctx, dep)
	}
	if err == nil && !edges.Exists {
		err = fmt.Errorf("there is no dependency %s, kingpin dep create makes it: %w", dep, registry.ErrNotExist)
	}
	return edges, err
}

// checkTarget refuses an edge that leads nowhere, or back to dep.
func (m *Mirror) checkTarget(ctx context.Context, dep registry.Dependency, edge registry.Edge) error {
	nested, ok := edge.Dependency()
	if !ok {
		name := registry.Name(edge)
		state, err := m.registry.State(ctx, name.Metaconfig())
		if err != nil {
			return fmt.Errorf("look for %s: %w", name, inTime(err))
		}
		if !state.Exists {
			return m.unknown(ctx, name)
		}
		return nil
	}
	if _, err := m.mustHave(ctx, nested); err != nil {
		return err
	}
	path, err := m.path(ctx, nested, dep, map[registry.Dependency]struct{}{})
	if err != nil {
		return err
	}
	if path != nil {
		return fmt.Errorf("%s would hold itself: %s: %w", dep, chain(dep, path), registry.ErrInvalid)
	}
	return nil
}

// Knows is ErrNotExist, in words, if the registry has no node of a name.
func (m *Mirror) Knows(ctx context.Context, name registry.Name) error {
	state, err := m.registry.State(ctx, name.Pointer())
	m.answered(registrySide, err)
	switch {
	case err != nil:
		return fmt.Errorf("look for %s: %w", name, inTime(err))
	case !state.Exists:
		return m.unknown(ctx, name)
	}
	return nil
}

// unknown is the error of a name that does not exist, and says which was probably meant.
func (m *Mirror) unknown(ctx context.Context, name registry.Name) error {
	names, err := m.registry.Names(ctx)
	if near, ok := registry.Nearest(string(name), names); err == nil && ok {
		return fmt.Errorf("%s does not exist; nearest: %s; to make it: kingpin create %s: %w", name, near, name, registry.ErrNotExist)
	}
	return fmt.Errorf("%s does not exist; to make it: kingpin create %s: %w", name, name, registry.ErrNotExist)
}

// path leads from one dependency to another, both included; nil if there is none.
func (m *Mirror) path(ctx context.Context, from, to registry.Dependency, seen map[registry.Dependency]struct{}) ([]registry.Dependency, error) {
	if from == to {
		return []registry.Dependency{to}, nil
	}
	if _, again := seen[from]; again {
		return nil, nil
	}
	seen[from] = struct{}{}
	edges, err := m.edges(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, edge := range edges.Members {
		nested, ok := edge.Dependency()
		if !ok {
			continue
		}
		path, err := m.path(ctx, nested, to, seen)
		if path != nil || err != nil {
			return append([]registry.Dependency{from}, path...), err
		}
	}
	return nil, nil
}

// chain spells a path: web.dep > api.dep > web.dep.
func chain(from registry.Dependency, path []registry.Dependency) string {
	text := string(from)
	for _, d := range path {
		text += " > " + string(d)
	}
	return text
}

// holderOf finds a dependency that has dep as a member.
func (m *Mirror) holderOf(ctx context.Context, dep registry.Dependency) (registry.Dependency, error) {
	all, err := m.Dependencies(ctx)
	if err != nil {
		return "", err
	}
	for _, d := range all {
		edges, err := m.edges(ctx, d)
		if err != nil {
			return "", err
		}
		if slices.Contains(edges.Members, registry.Edge(dep)) {
			return d, nil
		}
	}
	return "", nil
}

// lookAgain takes in what an edit of our own has made of a dependency that is followed here, ahead of the feed.
func (m *Mirror) lookAgain(ctx context.Context, dep registry.Dependency) {
	m.mu.Lock()
	d := m.dependencies[dep]
	m.mu.Unlock()
	if d == nil {
		return
	}
	if edges, err := m.edges(ctx, dep); err == nil { // otherwise the feed will tell
		m.hearEdges(d, edges)
	}
}
