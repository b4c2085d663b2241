package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// counters count since the start of the process.
type counters struct {
	fetches, fetchFailures, commits, damages   atomic.Int64
	holds, races, audits, metaconfigs          atomic.Int64
	audited                                    atomic.Int64 // when the last audit ended, in nanoseconds since 1970
	ok, same, conflict, invalid, denied, quota atomic.Int64
	unreachable, timeout, unknown, undelivered atomic.Int64
}

// Stats is how a Mirror is and what it has done. Counts are since the start of the process.
type Stats struct {
	Ready  bool
	Reason string // why it is not ready

	Registry      string    // why the registry is away; "": it is not
	RegistrySince time.Time // since when it is away
	Bodies        string    // why the store of bodies is away
	BodiesSince   time.Time

	Configs      int // followed names
	Serversets   int
	Deciders     int // files in decider/
	Dependencies int // followed dependencies that exist

	Pending  int // followed names by Condition
	Current  int
	Stale    int
	Held     int                // and dependencies that were deleted with members in them
	HeldBy   map[HoldReason]int // of them, names and dependencies
	Missing  int
	Leaving  int           // names that nothing wants any more, during their grace
	BadEdges int           // members of followed dependencies that are neither names nor dependencies
	Behind   time.Duration // how long the name that is behind longest has been

	BehindConfigs    int // names of which another version is published than is here
	BehindServersets int

	Publications  Publications
	Races         int64 // lost to another publisher and tried again
	Fetches       int64
	FetchFailures int64
	Commits       int64
	Holds         int64     // how often something began to be held
	Damages       int64     // bodies that went bad on disk
	Metaconfigs   int64     // found to be wrong
	Audits        int64     // completed
	Audited       time.Time // when the last of them was; zero: none was yet
	Unindexed     int       // index objects that are behind
}

// Publications counts what publications came to.
type Publications struct {
	OK          int64
	Same        int64 // the bytes were those of the present version
	Conflict    int64
	Invalid     int64 // refused, for whatever reason
	Denied      int64
	Quota       int64 // more versions a minute than one machine may make of one name
	Unreachable int64
	Timeout     int64
	Unknown     int64
	Undelivered int64 // published, but not written to this machine's disk
}

// NameStatus is how one followed name is on this machine.
type NameStatus struct {
	Name         registry.Name
	Condition    Condition
	Reason       string                // in words, why it is not Current
	Cause        HoldReason            // in a word, why it is Held
	Since        time.Time             // of the condition
	Behind       time.Time             // since when what is published is not here; zero: it is
	Version      registry.Version      // here
	Published    registry.Version      // what the registry said last; "" also if it has said nothing yet
	Failures     int                   // in a row
	Retry        time.Time             // when it is tried again; zero: nothing is to be tried
	Leaving      time.Time             // since when nothing wants it; zero: something does
	Dependencies []registry.Dependency // those that hold it, of the followed ones
}

// Ready says whether everything that this machine follows has been here once, in words if not. It stays ready: a name that is subscribed
// later, or goes stale, takes no machine out of service.
func (m *Mirror) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready {
		return nil
	}
	if err := m.unready(); err != nil {
		return err
	}
	m.ready = true
	if !m.started.IsZero() {
		m.log.Info("ready", "names", len(m.followers), "after", time.Since(m.started).Round(time.Millisecond))
	}
	return nil
}

// unready is Ready without the memory. The caller holds mu.
func (m *Mirror) unready() error {
	for _, name := range m.roots() {
		d := m.dependencies[name]
		switch {
		case name == registry.BaseDependency && m.recalled:
			// If it did not exist in the earlier life, nothing of it is missing here.
		case d == nil || !d.known:
			return fmt.Errorf("the registry has not said yet what is in %s%s", name, m.silence())
		case d.empty() && name != registry.BaseDependency:
			return fmt.Errorf("there is no dependency %s, kingpin dep create makes it", name)
		}
	}
	for _, d := range m.dependencies {
		if !d.known && d.name != registry.BaseDependency && !d.guest {
			return fmt.Errorf("the registry has not said yet what is in %s%s", d.name, m.silence())
		}
	}
	if m.unsurveyed {
		return errors.New("the subscriptions have just changed")
	}
	var pending []registry.Name
	all := 0
	for name, f := range m.followers {
		if f.absent() {
			continue
		}
		all++
		if f.condition == Pending && f.leaving.IsZero() {
			pending = append(pending, name)
		}
	}
	if len(pending) == 0 {
		return nil
	}
	name := slices.Min(pending)
	return fmt.Errorf("%d of %d names are not here yet, %s among them: %s",
		len(pending), all, name, m.followers[name].reason)
}

// absent says that a name which nobody has subscribed is not there, as far as anybody knows.
func (f *follower) absent() bool {
	return f.implied && (f.condition == Missing || f.condition == Pending && !f.word.heard)
}

// silence is the reason for what the registry has not said.
func (m *Mirror) silence() string {
	if err := m.health.lost(registrySide); err != nil {
		return fmt.Sprintf(" (%v)", err)
	}
	return ""
}

// Stats counts.
func (m *Mirror) Stats() Stats {
	c := &m.counters
	s := Stats{
		Races: c.races.Load(), Fetches: c.fetches.Load(), FetchFailures: c.fetchFailures.Load(), Commits: c.commits.Load(),
		Holds: c.holds.Load(), Damages: c.damages.Load(), Metaconfigs: c.metaconfigs.Load(), Audits: c.audits.Load(),
		Publications: Publications{
			OK: c.ok.Load(), Same: c.same.Load(), Conflict: c.conflict.Load(), Invalid: c.invalid.Load(), Denied: c.denied.Load(), Quota: c.quota.Load(),
			Unreachable: c.unreachable.Load(), Timeout: c.timeout.Load(), Unknown: c.unknown.Load(), Undelivered: c.undelivered.Load(),
		},
		Deciders: len(m.store.List(registry.Decider)),
		HeldBy:   map[HoldReason]int{},
	}
	if at := c.audited.Load(); at != 0 {
		s.Audited = time.Unix(0, at)
	}
	if err := m.Ready(); err != nil {
		s.Reason = err.Error()
	} else {
		s.Ready = true
	}
	if since, err := m.health.trouble(registrySide); err != nil {
		s.Registry, s.RegistrySince = err.Error(), since
	}
	if since, err := m.health.trouble(bodiesSide); err != nil {
		s.Bodies, s.BodiesSince = err.Error(), since
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Unindexed = len(m.unindexed)
	for _, d := range m.dependencies {
		s.BadEdges += len(d.bad)
		if !d.empty() {
			s.Dependencies++
		}
		if d.held {
			s.Held++
			s.HeldBy[Deleted]++
		}
	}
	for _, f := range m.followers {
		if !f.absent() {
			s.count(f)
		}
	}
	return s
}

func (s *Stats) count(f *follower) {
	if f.name.Kind() == registry.Serverset {
		s.Serversets++
	} else {
		s.Configs++
	}
	switch f.condition {
	case Pending:
		s.Pending++
	case Current:
		s.Current++
	case Stale:
		s.Stale++
	case Held:
		s.Held++
		s.HeldBy[f.cause]++
	case Missing:
		s.Missing++
	}
	if !f.leaving.IsZero() {
		s.Leaving++
	}
	if f.behind.IsZero() {
		return
	}
	s.Behind = max(s.Behind, time.Since(f.behind))
	if f.name.Kind() == registry.Serverset {
		s.BehindServersets++
	} else {
		s.BehindConfigs++
	}
}

// Behind is how those names are of which another version is published than is here, the longest behind first, and at most so many.
func (m *Mirror) Behind(most int) []NameStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var statuses []NameStatus
	for _, f := range m.followers {
		if !f.absent() && !f.behind.IsZero() {
			statuses = append(statuses, m.status(f))
		}
	}
	slices.SortFunc(statuses, func(a, b NameStatus) int {
		return cmp.Or(a.Behind.Compare(b.Behind), cmp.Compare(a.Name, b.Name))
	})
	return statuses[:min(most, len(statuses))]
}

// Status is how one name is on this machine; ok is false if it is not followed.
func (m *Mirror) Status(name registry.Name) (s NameStatus, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followers[name]
	if f == nil || f.absent() {
		return NameStatus{}, false
	}
	s = m.status(f)
	for _, d := range m.dependencies {
		if _, holds := slices.BinarySearch(d.edges, registry.Edge(name)); holds {
			s.Dependencies = append(s.Dependencies, d.name)
		}
	}
	slices.Sort(s.Dependencies)
	return s, true
}

// Statuses is how every followed name is on this machine, sorted by name.
func (m *Mirror) Statuses() []NameStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	holders := map[registry.Edge][]registry.Dependency{}
	for _, d := range m.dependencies {
		for _, edge := range d.edges {
			holders[edge] = append(holders[edge], d.name)
		}
	}
	statuses := make([]NameStatus, 0, len(m.followers))
	for _, f := range m.followers {
		if f.absent() {
			continue
		}
		s := m.status(f)
		s.Dependencies = holders[registry.Edge(f.name)]
		slices.Sort(s.Dependencies)
		statuses = append(statuses, s)
	}
	slices.SortFunc(statuses, func(a, b NameStatus) int { return cmp.Compare(a.Name, b.Name) })
	return statuses
}

func (m *Mirror) status(f *follower) NameStatus {
	s := NameStatus{
		Name: f.name, Condition: f.condition, Reason: f.reason, Cause: f.cause, Since: f.since, Behind: f.behind,
		Published: f.word.version, Failures: f.failures, Retry: m.queue.due(f), Leaving: f.leaving,
	}
	if e, here := m.store.Current(f.file()); here {
		s.Version = e.Version
	}
	return s
}
