package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// auditStep is how long an audit pauses, on average, if that leaves it time for all. Then several are asked about in one step: waking up
// costs more than asking.
const auditStep = 15 * time.Second

// audit asks the registry about everything once more, at random moments that fill Options.Audit: a feed that has silently gone deaf
// costs a delay, never an update.
func (m *Mirror) audit(ctx context.Context) {
	for {
		dependencies, names := m.subjects()
		group := (len(dependencies)+len(names))/max(1, int(m.o.Audit/auditStep)) + 1
		step := m.o.Audit / time.Duration((len(dependencies)+group-1)/group+(len(names)+group-1)/group+1)
		rest := func() bool { return pause(ctx, rand.N(2*step)) }
		if !rest() {
			return
		}
		for some := range slices.Chunk(dependencies, group) {
			for _, d := range some {
				m.auditDependency(ctx, d)
			}
			if !rest() {
				return
			}
		}
		for some := range slices.Chunk(names, group) {
			m.auditNames(ctx, some)
			if !rest() {
				return
			}
		}
		m.counters.audits.Add(1)
		m.counters.audited.Store(time.Now().UnixNano())
	}
}

func (m *Mirror) subjects() (dependencies []registry.Dependency, names []registry.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.dependencies {
		dependencies = append(dependencies, name)
	}
	for name := range m.followers {
		names = append(names, name)
	}
	slices.Sort(dependencies)
	slices.Sort(names)
	return dependencies, names
}

func (m *Mirror) auditDependency(ctx context.Context, name registry.Dependency) {
	edges, err := m.edges(ctx, name)
	m.outcome(registrySide, err)
	m.mu.Lock()
	d := m.dependencies[name]
	m.mu.Unlock()
	if err == nil && d != nil {
		m.hearEdges(d, edges)
	}
}

func (m *Mirror) auditNames(ctx context.Context, names []registry.Name) {
	away := func() bool { return m.health.lost(registrySide) != nil || m.health.lost(bodiesSide) != nil }
	if away() {
		return // the probe asks for all
	}
	m.refresh(names...)
	for _, name := range names {
		if ctx.Err() != nil || away() {
			return
		}
		m.repairIndex(ctx, name.Pointer())
		m.repairIndex(ctx, name.Metaconfig())
		m.auditMetaconfig(ctx, name)
	}
}

// repairIndex writes the index object of a pointer whose publication here could not.
func (m *Mirror) repairIndex(ctx context.Context, pointer registry.Pointer) {
	m.mu.Lock()
	_, behind := m.unindexed[pointer]
	m.mu.Unlock()
	if !behind {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var written registry.Version
	for { // until nobody has published in between: then the index holds what the pointer does
		state, err := m.registry.State(ctx, pointer)
		if err != nil {
			return // the next audit tries again
		}
		if !state.Exists || state.Version == written {
			break
		}
		if err := m.bodies.PutIndex(ctx, pointer.IndexKey(), state.Version); err != nil {
			return
		}
		written = state.Version
	}
	m.mu.Lock()
	delete(m.unindexed, pointer)
	m.mu.Unlock()
	m.log.Info("index written", "pointer", pointer, "version", written)
}

// auditMetaconfig learns what a metaconfig says, and complains once of one that says something else than its name does. Old monitors go
// by it, we by the name.
func (m *Mirror) auditMetaconfig(ctx context.Context, name registry.Name) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m.mu.Lock()
	f := m.followers[name]
	m.mu.Unlock()
	state, err := m.registry.State(ctx, name.Metaconfig())
	if f == nil || err != nil {
		return
	}
	if state.Version == "" { // it was never written, or is not there
		m.learn(f, nil)
		return
	}
	m.mu.Lock()
	known := f.metaconfig == state.Version
	m.mu.Unlock()
	if known {
		return
	}
	body, err := m.bodies.Fetch(ctx, name.Metaconfig().Key(state.Version))
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		return
	}
	m.mu.Lock()
	f.metaconfig = state.Version
	m.mu.Unlock()
	var sections registry.Metaconfig
	if err == nil {
		sections, err = checkMetaconfig(name, body.Data)
	}
	m.learn(f, sections)
	if err != nil {
		m.counters.metaconfigs.Add(1)
		m.log.Warn("its metaconfig is wrong: this machine goes by the name, old monitors may not follow it",
			"name", name, "version", state.Version, "error", err)
	}
}

// checkMetaconfig refuses a metaconfig that cannot be read, or that follows something else than the name says.
func checkMetaconfig(name registry.Name, data []byte) (registry.Metaconfig, error) {
	sections, err := registry.ParseMetaconfig(data)
	if err != nil {
		return nil, err
	}
	for _, s := range sections {
		if s.Pointer == name.Pointer() && s.Kind == name.Kind() {
			return sections, nil
		}
	}
	return nil, fmt.Errorf("no section of it is a %s at %s: %w", name.Kind(), name.Pointer(), registry.ErrInvalid)
}
