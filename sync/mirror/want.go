package mirror

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// dependency is one set of subscriptions that is reached from the roots. Mirror.mu guards all of it.
type dependency struct {
	name   registry.Dependency
	stop   context.CancelFunc // ends the feed; nil: there is none
	known  bool               // edges is what the registry said, now or in an earlier life
	exists bool
	order  registry.Order
	edges  []registry.Edge // sorted, well-formed
	bad    map[string]struct{}
	held   bool // it was deleted with edges in it, and they stay
	guest  bool // it is shown, and not followed
	parted []parting
	left   time.Time // since when nothing reaches it
}

// recall starts from what is on disk: the graph as it was followed last, and every file. Whatever nobody wants any more leaves as soon
// as the registry has confirmed that.
func (m *Mirror) recall() {
	m.recallGuests()
	graph := m.store.Graph()
	m.recalled = len(graph.Dirs) > 0
	for _, dir := range graph.Dirs {
		d := &dependency{name: dir.Name, known: true, exists: true}
		for _, link := range dir.Links {
			d.edges = append(d.edges, link.Edge)
		}
		m.dependencies[d.name] = d
		m.shown[d.name] = d.edges
	}
	for _, kind := range []registry.Kind{registry.Config, registry.Serverset} {
		for _, e := range m.store.List(kind) {
			m.follower(registry.Name(e.Name))
		}
	}
	m.survey(context.Background(), time.Now())
	m.replan()
}

// roots are the dependencies that are followed because somebody said so.
func (m *Mirror) roots() []registry.Dependency {
	if slices.Contains(m.o.Dependencies, registry.BaseDependency) {
		return m.o.Dependencies
	}
	return append(slices.Clone(m.o.Dependencies), registry.BaseDependency)
}

// replan has conduct look again at what is wanted.
func (m *Mirror) replan() { signal(m.plan) }

// conduct starts and ends the feeds: one for each dependency that is reached and one for each name in them. It is the only one who
// decides what is wanted, and it ends when all feeds have.
func (m *Mirror) conduct(ctx context.Context) {
	defer m.feeds.Wait()
	failures := 0
	for {
		m.mu.Lock()
		leavers, wait := m.survey(ctx, time.Now())
		edges, size := m.graph()
		m.mu.Unlock()

		m.notify()
		m.saveGuests()
		for _, f := range leavers {
			if !m.leave(f) {
				wait = time.Second // somebody is publishing it
			}
		}
		if err := m.show(edges, size); err != nil {
			failures++
			wait = backoff(failures)
		} else {
			failures = 0
			m.rest() // the last word may have been that there is nothing more to bring home
		}
		if !sleep(ctx, m.plan, wait) {
			return
		}
	}
}

// survey walks the dependencies from the roots, and starts to follow what it reaches for the first time. Names that nothing
// reaches any more begin their grace, but not while a dependency is reached of which nothing is known: it may hold them. It
// returns the names whose grace is over, and how long until the next one's is (0: none). The caller holds mu.
func (m *Mirror) survey(ctx context.Context, now time.Time) (leavers []*follower, wait time.Duration) {
	m.unsurveyed = false
	reached := map[registry.Dependency]struct{}{}
	wanted := map[registry.Name]bool{registry.DeciderName: false} // true: a dependency holds it
	complete := true
	todo := slices.Clone(m.roots())
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, done := reached[name]; done {
			continue
		}
		reached[name] = struct{}{}
		d := m.regain(ctx, name, now)
		d.guest = false
		complete = complete && d.known
		for _, edge := range d.edges {
			if nested, ok := edge.Dependency(); ok {
				todo = append(todo, nested)
			} else if name, ok := edge.Name(); ok {
				wanted[name] = true
			}
		}
	}
	m.surveyGuests(ctx, reached)
	for _, name := range slices.Sorted(maps.Keys(wanted)) { // who goes through the directory need not wait for the last one at each
		f := m.follower(name)
		f.leaving, f.implied = time.Time{}, !wanted[name]
		m.startFeed(ctx, f)
	}
	if !complete {
		return nil, 0
	}
	for name, d := range m.dependencies {
		if _, ok := reached[name]; !ok {
			m.depart(d, now)
		}
	}
	return m.unwanted(ctx, wanted, now)
}

// unwanted is the part of survey for names that nothing reaches.
func (m *Mirror) unwanted(ctx context.Context, wanted map[registry.Name]bool, now time.Time) (leavers []*follower, wait time.Duration) {
	for name, f := range m.followers {
		if _, ok := wanted[name]; ok {
			continue
		}
		if f.leaving.IsZero() {
			f.leaving = now
		}
		m.startFeed(ctx, f)
		left := f.leaving.Add(m.o.Grace).Sub(now)
		switch {
		case left <= 0:
			leavers = append(leavers, f)
		case wait == 0 || left < wait:
			wait = left
		}
	}
	return leavers, wait
}

// dependency returns the named one, followed from now on. The caller holds mu.
func (m *Mirror) dependency(ctx context.Context, name registry.Dependency) *dependency {
	d := m.dependencies[name]
	if d == nil {
		d = &dependency{name: name}
		m.dependencies[name] = d
	}
	if d.stop == nil && m.running.Load() {
		ctx, stop := context.WithCancel(ctx)
		d.stop = stop
		m.feeds.Go(func() { m.followDependency(ctx, d) })
	}
	return d
}

// follower returns the one of a name. The caller holds mu.
func (m *Mirror) follower(name registry.Name) *follower {
	f := m.followers[name]
	if f == nil {
		f = &follower{name: name}
		f.become(Pending, "the registry has not been heard yet")
		if _, here := m.store.Current(f.file()); here && !m.damaged(name) {
			f.become(Current, "")
		}
		m.followers[name] = f
	}
	return f
}

// startFeed begins to listen to what the registry says about f. The caller holds mu.
func (m *Mirror) startFeed(ctx context.Context, f *follower) {
	if f.stop != nil || !m.running.Load() {
		return
	}
	if m.changes != nil {
		f.stop = m.changes.Follow(f.name)
		return
	}
	ctx, stop := context.WithCancel(ctx)
	f.stop = stop
	m.feeds.Go(func() { m.follow(ctx, f) })
}

// leave ends a name that nobody has wanted for its grace, and its file. It is false if somebody has the name's lock.
func (m *Mirror) leave(f *follower) bool {
	unlock, ok := m.locks.try(f.name)
	if !ok {
		return false
	}
	defer unlock()
	m.end(f)
	return true
}

// end is leave of who has the name's lock.
func (m *Mirror) end(f *follower) {
	m.mu.Lock()
	ended := m.followers[f.name] != f
	m.mu.Unlock()
	if ended {
		return
	}
	if err := m.store.Remove(f.file()); err != nil {
		m.log.Error("unsubscribed, but its file stays for now", "name", f.name, "error", err)
		m.mu.Lock()
		f.leaving = time.Now()
		m.mu.Unlock()
		return
	}
	m.mu.Lock()
	delete(m.followers, f.name)
	stop := f.stop
	m.mu.Unlock()
	if stop != nil {
		stop()
	}
	m.queue.remove(f)
	m.notify()
	m.log.Info("unsubscribed, its file is gone", "name", f.name)
}

// graph is what the directories of dependencies are to show: every edge that leads somewhere. The caller holds mu.
func (m *Mirror) graph() (edges map[registry.Dependency][]registry.Edge, names int) {
	edges = map[registry.Dependency][]registry.Edge{}
	for _, d := range m.dependencies {
		if d.empty() {
			continue
		}
		shown := make([]registry.Edge, 0, len(d.edges))
		for _, edge := range d.edges {
			if !m.dangles(edge) {
				shown = append(shown, edge)
			}
		}
		edges[d.name] = shown
		names += len(shown)
	}
	return edges, names
}

// empty says that there is no such dependency, as far as anybody knows.
func (d *dependency) empty() bool { return !d.exists && len(d.edges) == 0 }

// dangles says that an edge leads to nothing. The caller holds mu.
func (m *Mirror) dangles(edge registry.Edge) bool {
	if nested, ok := edge.Dependency(); ok {
		d := m.dependencies[nested]
		return d != nil && d.known && d.empty()
	}
	f := m.followers[registry.Name(edge)]
	return f != nil && f.condition == Missing
}

// show makes the disk's graph the one that is followed.
func (m *Mirror) show(edges map[registry.Dependency][]registry.Edge, size int) error {
	m.mu.Lock()
	same := maps.EqualFunc(edges, m.shown, slices.Equal)
	m.mu.Unlock()
	if same {
		return nil
	}
	if err := m.store.SetGraph(edges); err != nil {
		m.log.Error("dependencies not written to disk", "error", err)
		return err
	}
	m.mu.Lock()
	m.shown = edges
	m.mu.Unlock()
	m.notify()
	m.log.Info("subscriptions changed", "dependencies", len(edges), "members", size)
	return nil
}

// followDependency hears what the registry says about a dependency, until ctx is done.
func (m *Mirror) followDependency(ctx context.Context, d *dependency) {
	for failures := 1; ctx.Err() == nil; failures++ {
		for edges, err := range m.registry.Dependency(ctx, d.name) {
			m.outcome(registrySide, err)
			if err != nil {
				continue
			}
			if missing := m.hearEdges(d, edges); missing && m.o.Create && slices.Contains(m.o.Dependencies, d.name) {
				m.makeRoot(ctx, d.name)
			}
		}
		pause(ctx, backoff(failures))
	}
}

// hearEdges takes in what the registry said about a dependency. missing is true if there is none and never was.
func (m *Mirror) hearEdges(d *dependency, said registry.Edges) (missing bool) {
	edges, bad := wellFormed(said.Members)
	m.mu.Lock()
	if d.known && d.exists && said.Exists && said.Order < d.order {
		m.mu.Unlock()
		return false // a late word
	}
	before, now := *d, time.Now()
	since := now.Add(-m.o.Grace)
	d.known, d.exists, d.bad = true, said.Exists, bad
	deleted := !said.Exists && !d.guest // a guest that is deleted goes: nobody follows what is in it
	if deleted {
		d.edges = d.withParted(since)
	}
	d.held = deleted && len(d.edges) > 0
	if !d.held {
		d.part(edges, now, since)
		d.edges, d.order = edges, said.Order
	}
	kept := len(d.edges)
	missing, isHeld := d.empty(), d.held
	m.unsurveyed = true
	m.mu.Unlock()

	switch {
	case isHeld && !before.held:
		m.counters.holds.Add(1)
		m.log.Warn("held: a dependency was deleted with members in it, they stay", "name", d.name, "members", kept)
	case missing && d.name != registry.BaseDependency && (before.exists || !before.known):
		m.log.Warn("skipped: there is no such dependency", "name", d.name)
	}
	for edge := range bad {
		if _, old := before.bad[edge]; !old {
			m.log.Warn("skipped: neither a name nor a dependency", "name", d.name, "edge", edge)
		}
	}
	m.replan()
	m.notify()
	return missing
}

func wellFormed(members []registry.Edge) (edges []registry.Edge, bad map[string]struct{}) {
	for _, member := range members {
		if edge, err := registry.ParseEdge(string(member)); err == nil {
			edges = append(edges, edge)
			continue
		}
		if bad == nil {
			bad = map[string]struct{}{}
		}
		bad[string(member)] = struct{}{}
	}
	slices.Sort(edges)
	return slices.Compact(edges), bad
}

// makeRoot makes a dependency that this machine was told to follow and that nobody has made.
func (m *Mirror) makeRoot(ctx context.Context, name registry.Dependency) {
	for failures := 1; ; failures++ {
		err := m.registry.CreateDependency(ctx, name)
		if err == nil {
			m.log.Info("dependency made", "name", name)
			return
		}
		if errors.Is(err, registry.ErrExist) || ctx.Err() != nil {
			return
		}
		m.log.Warn("dependency not made", "name", name, "error", err)
		if !pause(ctx, backoff(failures)) {
			return
		}
	}
}
