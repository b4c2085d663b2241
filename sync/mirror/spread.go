package mirror

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// spread is over how long the machines of the fleet spread their fetches of one new version: max_wait_in_secs of the metaconfig. Most
// names say nothing, and are fetched at once. Mirror.mu guards it.
type spread struct {
	learned bool          // the metaconfig was read since the start
	over    time.Duration // 0: not at all; at most a day
	due     time.Time     // when the version that is awaited is fetched; zero: none is
	hurry   bool          // somebody has asked for the name: it does not wait
}

// postponed says whether the fetch of what the registry said about f has to wait, and has f come again when it has waited: with full jitter,
// once for all versions that come meanwhile, and then for the last of them, since the registry is asked before. The first version
// of a name waits for nothing, nor does what went bad on disk. The caller has the name's lock.
func (m *Mirror) postponed(ctx context.Context, f *follower, w word) bool {
	current, here := m.store.Current(f.file())
	if f.name.Kind() != registry.Config || !here || current.Version == "" || !w.exists || w.version == "" ||
		w.version == current.Version || w.order < current.Order || m.damaged(f.name) {
		m.mu.Lock()
		defer m.mu.Unlock()
		f.spread.due = time.Time{}
		return false
	}
	m.mu.Lock()
	learned := f.spread.learned
	m.mu.Unlock()
	if !learned {
		m.auditMetaconfig(ctx, f.name) // if that cannot be read now, nobody waits for it
	}
	left, wait := m.wait(f)
	if wait {
		m.queue.addLater(f, left)
		m.notify()
	}
	return wait
}

// wait begins the wait of f, or says how much of it is left.
func (m *Mirror) wait(f *follower) (left time.Duration, wait bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &f.spread
	if s.over == 0 || s.hurry {
		return 0, false
	}
	now := time.Now()
	if s.due.IsZero() {
		s.due = now.Add(rand.N(s.over))
	}
	if left = s.due.Sub(now); left <= 0 {
		return 0, false // and due stays, so that a fetch that fails does not wait once more
	}
	f.ask = true // whatever is said by then
	f.become(Stale, fmt.Sprintf("a later version is fetched at %s: max_wait_in_secs of its metaconfig is %d",
		s.due.UTC().Format(time.RFC3339), int(s.over.Seconds())))
	return left, true // it is not behind: that would call somebody in the night for what is as it was asked for
}

// learn takes over what the metaconfig says of the wait.
func (m *Mirror) learn(f *follower, sections registry.Metaconfig) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.spread.learned, f.spread.over = true, 0
	for _, s := range sections {
		if s.Pointer == f.name.Pointer() {
			f.spread.over = s.MaxWait
		}
	}
}

// hurry has these names, or all if there are none, fetched without a wait.
func (m *Mirror) hurry(names []registry.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(names) == 0 {
		for _, f := range m.followers {
			f.spread.hurry = true
		}
	}
	for _, name := range names {
		if f := m.followers[name]; f != nil {
			f.spread.hurry = true
		}
	}
}
