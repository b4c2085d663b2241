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
	m.mu.Lock()
	now, reason, implied := f.condition, f.reason, f.implied
	m.mu.Unlock()
	if now == before || now == Missing && implied {
		return
	}
	switch now {
	case Held:
		m.counters.holds.Add(1)
		m.log.Warn("held: the last good version stays", "name", f.name, "reason", reason)
	case Missing:
		m.log.Warn("skipped: "+reason, "name", f.name)
	case Stale, Pending:
		level := slog.LevelWarn
		if errors.Is(err, registry.ErrUnreachable) {
			level = slog.LevelDebug // that a neighbour is away was said once, for all names
		}
		m.log.Log(context.Background(), level, "not up to date", "name", f.name, "version", w.version, "error", err)
	case Current:
		if before == Stale || before == Held {
			m.log.Info("up to date again", "name", f.name, "version", w.version)
		}
	}
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
	about := []any{"name", p.Name, "author", p.Author, "size", len(p.Body), "took", took.Round(time.Microsecond)}
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
		{registry.ErrUnreachable, c.unreachable.Add},
		{registry.ErrTimeout, c.timeout.Add},
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
