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
