package mirror

import (
	"context"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// showTimeout is how long an edit that is done waits for this machine to show it. Beyond, it shows it later.
const showTimeout = 5 * time.Second

// notify wakes those who await.
func (m *Mirror) notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// await waits until done, which is called with mu. It is false if that took too long, or if nobody runs the mirror.
func (m *Mirror) await(ctx context.Context, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	for m.running.Load() {
		m.mu.Lock()
		if done() {
			m.mu.Unlock()
			return true
		}
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// shows says whether dep, if it is followed here, has or has not these edges on disk, as demanded. The caller holds mu.
func (m *Mirror) shows(dep registry.Dependency, edges []registry.Edge, there bool) bool {
	shown, followed := m.shown[dep]
	if !followed {
		return m.dependencies[dep] == nil
	}
	for _, edge := range edges {
		if slices.Contains(shown, edge) != there {
			return false
		}
	}
	return true
}

// AwaitMembers waits until this machine has what it follows through members of a dependency, those of nested ones included. What cannot
// be had now is not waited for. It is at once over if the dependency is not followed here.
func (m *Mirror) AwaitMembers(ctx context.Context, dep registry.Dependency, members ...registry.Edge) {
	todo, seen := slices.Clone(members), map[registry.Edge]bool{}
	m.await(ctx, func() bool {
		if d := m.dependencies[dep]; d == nil || d.guest {
			return true
		}
		for len(todo) > 0 && !m.unsurveyed {
			last := len(todo) - 1
			below, ok := m.reached(todo[last])
			if !ok {
				return false
			}
			todo = todo[:last]
			for _, edge := range below {
				if !seen[edge] {
					seen[edge] = true
					todo = append(todo, edge)
				}
			}
		}
		return len(todo) == 0
	})
}

// reached says whether what an edge leads to is here, or is not to be waited for, and which edges are to be looked at then. The caller
// holds mu.
func (m *Mirror) reached(edge registry.Edge) (below []registry.Edge, ok bool) {
	nested, ok := edge.Dependency()
	if !ok {
		f := m.followers[registry.Name(edge)]
		return nil, f == nil || f.condition != Pending || f.failures > 0
	}
	d := m.dependencies[nested]
	if d == nil || !d.known {
		return nil, d == nil
	}
	if d.empty() {
		return nil, true
	}
	below = slices.DeleteFunc(slices.Clone(d.edges), m.dangles)
	return below, slices.Equal(m.shown[nested], below)
}

// AwaitNode waits until this machine shows a member of a serverset that the registry has, by the name of its node, if it follows the
// serverset.
func (m *Mirror) AwaitNode(ctx context.Context, name registry.Name, node string) {
	m.await(ctx, func() bool {
		f := m.followers[name]
		return f == nil || slices.ContainsFunc(f.places, func(p place) bool { return p.Node == node })
	})
}

// sleep waits until somebody wakes it, or so long if that is not 0. It is false when ctx has ended.
func sleep(ctx context.Context, wake <-chan struct{}, wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-wake:
	case <-due:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
