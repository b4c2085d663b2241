package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// bringHome makes the disk hold what the registry said about a name, unless it does already, and returns the entry that is on disk
// then. The caller has the name's lock, and perhaps a slot, which a small body that was fetched does not need any more. A held error
// means that the last good version was left alone.
func (m *Mirror) bringHome(ctx context.Context, name registry.Name, w word, s *slot) (disk.Entry, error) {
	current, here := m.store.Current(disk.File{Kind: name.Kind(), Name: string(name)})
	switch {
	case !w.exists && !here:
		return disk.Entry{}, errMissing
	case name.Kind() == registry.Serverset:
		return m.bringServerset(name, w, current, here)
	case !w.exists:
		return current, held{cause: Deleted, reason: "its node was deleted from the registry"}
	}
	damaged := m.damaged(name)
	switch {
	case here && !damaged && current.Version == w.version:
		return current, m.repairDeciders(name, current)
	case here && w.order < current.Order:
		return current, wentBack(w, current)
	case here && w.version == "" && current.Version != "":
		return current, held{cause: Anew, reason: "its node was made anew and never written"}
	}
	c := disk.Commit{File: disk.File{Kind: registry.Config, Name: string(name)}, Version: w.version, Order: w.order}
	if w.version != "" {
		body, err := m.fetch(ctx, name, w.version)
		if err != nil {
			return current, err
		}
		if len(body.Data) <= smallBody {
			s.release()
		}
		c.Body, c.Author, c.Message, c.Published = body.Data, body.Meta.Author, body.Meta.Message, body.Meta.Published
		if c.Published.IsZero() {
			c.Published, _ = w.version.Time() // a body of the old system: the token is the time
		}
	}
	return m.update(c)
}

// wentBack is why a registry that is older than this machine is not followed: it was replaced, or restored from a backup.
func wentBack(w word, current disk.Entry) error {
	return held{cause: WentBack, reason: fmt.Sprintf("the registry went back, from order %d to %d: was it replaced or restored?", current.Order, w.order)}
}

// fetch gets the body of one version.
func (m *Mirror) fetch(ctx context.Context, name registry.Name, version registry.Version) (registry.Body, error) {
	if err := m.health.lost(bodiesSide); err != nil {
		return registry.Body{}, fmt.Errorf("fetch version %s: %w", version, err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.FetchTimeout)
	defer cancel()
	m.counters.fetches.Add(1)
	body, err := m.bodies.Fetch(ctx, name.Pointer().Key(version))
	m.answered(bodiesSide, err)
	switch {
	case errors.Is(err, registry.ErrChecksum):
		m.counters.fetchFailures.Add(1)
		return registry.Body{}, held{cause: Checksum, reason: fmt.Sprintf("version %s: %v", version, err), again: true}
	case errors.Is(err, registry.ErrNotExist):
		m.counters.fetchFailures.Add(1)
		return registry.Body{}, fmt.Errorf("the body of version %s is not in the store: %w", version, err)
	case errors.Is(err, registry.ErrTooLarge):
		m.counters.fetchFailures.Add(1)
		return registry.Body{}, held{cause: TooLarge, reason: fmt.Sprintf("version %s: %v", version, err)}
	case err != nil:
		m.counters.fetchFailures.Add(1)
		return registry.Body{}, fmt.Errorf("fetch version %s: %w", version, inTime(err))
	case int64(len(body.Data)) > m.o.MaxBody:
		return registry.Body{}, held{cause: TooLarge, reason: fmt.Sprintf("version %s has %d bytes, this machine takes at most %d", version, len(body.Data), m.o.MaxBody)}
	}
	return body, nil
}

// update is commit of what was published elsewhere.
func (m *Mirror) update(c disk.Commit) (disk.Entry, error) {
	before, _ := m.store.Current(c.File)
	e, err := m.commit(c, "")
	if err == nil && e.Stamp != before.Stamp {
		m.logUpdate(e)
	}
	return e, err
}

// commit puts a version on disk, and with the map of the deciders their files. If it was made to change one decider the origin is that
// one's file's: for everybody else it is a version like any other.
func (m *Mirror) commit(c disk.Commit, decider string) (disk.Entry, error) {
	commits := []disk.Commit{c}
	var gone []disk.File
	if c.Name == string(registry.DeciderName) {
		var deciders []disk.Commit
		deciders, gone = m.deciderFiles(c)
		for i := range deciders {
			if decider != "" && deciders[i].Name == decider {
				deciders[i].Origin, commits[0].Origin = c.Origin, 0
			}
		}
		commits = append(commits, deciders...)
	}
	entries, err := m.store.Commit(commits...)
	if err != nil {
		return disk.Entry{}, fmt.Errorf("write version %s to disk: %w", c.Version, err)
	}
	m.counters.commits.Add(1)
	return entries[0], m.removeFiles(gone)
}

// damaged says whether the file of a name has lost its body, or an older one stands in for it.
func (m *Mirror) damaged(name registry.Name) bool {
	return slices.ContainsFunc(m.store.Damaged(), func(f disk.File) bool {
		return f.Kind == name.Kind() && f.Name == string(name)
	})
}

// mend has what went bad on disk fetched again as soon as somebody notices.
func (m *Mirror) mend(ctx context.Context) {
	var before []disk.File
	for damaged := range m.store.Repairs(ctx) {
		for _, f := range damaged {
			name := registry.Name(f.Name)
			if f.Kind == registry.Decider {
				name = registry.DeciderName
			}
			if !slices.Contains(before, f) {
				m.counters.damages.Add(1)
				m.log.Warn("a body went bad on disk and is fetched again", "name", f)
			}
			m.wakeUp(name)
		}
		before = damaged
	}
}
