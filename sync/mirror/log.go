package mirror

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// logCondition says one line when a condition begins and one when it is over, none while it lasts.
func (m *Mirror) logCondition(f *follower, before Condition, w word, err error) {
	// That a neighbour is away was said once, for all names.
	apart := !errors.Is(err, registry.ErrUnreachable)
	m.mu.Lock()
	now, reason, implied, warned, leaving := f.condition, f.reason, f.implied, f.warned, !f.leaving.IsZero()
	behind := now == Stale || now == Pending
	f.warned = behind && (warned || apart)
	m.mu.Unlock()
	switch {
	case behind && !warned && apart:
		m.log.Warn("not up to date", "name", f.name, "version", w.version, "error", err)
	case leaving: // what becomes of it matters to nobody
	case now == Held && before != Held:
		m.counters.holds.Add(1)
		about := []any{"name", f.name, "reason", reason}
		if f.name.Kind() == registry.Serverset {
			about = append(about, "do", "kingpin accept "+string(f.name))
		}
		m.log.Warn("held: the last good version stays", about...)
	case now == Missing && before != Missing && !implied:
		m.log.Warn("skipped: "+reason, "name", f.name)
	case now == Current && (warned || before == Held):
		m.log.Info("up to date again", "name", f.name, "version", w.version)
	}
}

// logUpdate says which version came home. The first boot has no line for each of its thousands.
func (m *Mirror) logUpdate(e disk.Entry) {
	m.mu.Lock()
	level := slog.LevelInfo
	if !m.ready {
		level = slog.LevelDebug
	}
	m.mu.Unlock()
	m.log.Log(context.Background(), level, "updated", "name", e.Name, "version", e.Version, "author", e.Author, "size", e.Size)
}

// complain warns of one instance of a subject once.
func (m *Mirror) complain(subject, instance, message string, args ...any) {
	m.mu.Lock()
	said := m.complained[subject] == instance
	m.complained[subject] = instance
	m.mu.Unlock()
	if !said {
		m.log.Warn(message, args...)
	}
}

// recordPublication counts a publication and says one line about it: the audit trail that people grep.
func (m *Mirror) recordPublication(p Publication, e disk.Entry, published bool, err error, took time.Duration) {
	c := &m.counters
	about := []any{"name", p.Name}
	if p.Decider != "" {
		about = append(about, "decided", p.decision())
	}
	about = append(about, "author", p.Author, "size", len(p.Body), "took", took.Round(time.Microsecond))
	switch {
	case err == nil && published:
		c.ok.Add(1)
		m.log.Info("published", append(about, "version", e.Version)...)
		return
	case err == nil:
		c.same.Add(1)
		m.log.Info("not published: the bytes are what they were", append(about, "version", e.Version)...)
		return
	case published:
		c.undelivered.Add(1)
		m.log.Error("published, but not on this machine's disk yet", append(about, "error", err)...)
		return
	}
	for _, kind := range []struct {
		err   error
		count func(int64) int64
	}{
		{registry.ErrUnknown, c.unknown.Add},
		{registry.ErrConflict, c.conflict.Add},
		{registry.ErrQuota, c.quota.Add},
		{registry.ErrUnreachable, c.unreachable.Add},
		{registry.ErrTimeout, c.timeout.Add},
		{context.Canceled, c.timeout.Add}, // its writer was interrupted
		{registry.ErrPermission, c.denied.Add},
		{registry.ErrReadOnly, c.denied.Add},
		{err, c.invalid.Add}, // everything else
	} {
		if errors.Is(err, kind.err) {
			kind.count(1)
			break
		}
	}
	m.log.Info("not published", append(about, "error", err)...)
}
