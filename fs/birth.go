package fs

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The kernel raises the events of a name that comes or goes when somebody makes or removes it through the mount. For what came
// from elsewhere the poker does so: to its thread a new name is hidden until its own CREATE, MKDIR or SYMLINK, and a name that is
// gone is still there until its own UNLINK or RMDIR. Nothing is made or removed by these; they answer with what is true already.

const (
	// maxBirths is how often the poker tries. Somebody who looks a new name up between the invalidation and the CREATE makes the kernel open the
	// file instead of creating it; that is refused, so that no event is raised but the right one.
	maxBirths = 5
	// birthBatch is how many names are acted out on one way to the poker, at first: with three ops each, as many as pokeBatch has room for.
	birthBatch = pokeBatch / 3
)

// place is where a name is.
type place struct {
	parent uint64
	name   string
}

// birth is a name whose coming or going the poker is acting out.
type birth struct {
	place
	op    keeper.Op            // what the poker does
	dying func(*fuse.EntryOut) // fills what was there; nil: the name is new
	done  bool                 // the kernel has asked for it
}

// act sets what the poker sees while it acts births out. The caller has none of them done before.
func (a *announcer) act(ctx context.Context, births ...*birth) {
	var forget, ops []keeper.Op
	a.f.mu.Lock()
	for _, b := range births {
		a.f.births[b.place] = b
		forget = append(forget, keeper.Op{Kind: keeper.InvalidateEntry, Parent: b.parent, Name: b.name})
		ops = append(ops, b.op)
	}
	a.f.mu.Unlock()
	a.poke(ctx, slices.Concat(forget, ops, forget))
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	for _, b := range births {
		delete(a.f.births, b.place)
	}
}

// appear raises the events that names have come, and returns those that the kernel did not take for that. Somebody may look one up
// while the others of its batch are made; it is then tried by itself.
func (a *announcer) appear(ctx context.Context, births ...*birth) (missed []*birth) {
	for batch := range slices.Chunk(births, birthBatch) {
		a.act(ctx, batch...)
		for _, b := range batch {
			for try := 1; try < maxBirths && !b.done && ctx.Err() == nil; try++ {
				a.act(ctx, b)
			}
			if !b.done && ctx.Err() == nil {
				missed = append(missed, b)
			}
		}
	}
	return missed
}

// vanish raises the event that a file has gone. Its last version is shown with a single link, so that those who watch it hear
// that it is deleted.
func (a *announcer) vanish(ctx context.Context, file disk.File) {
	old := a.f.store.SupersededOf(file)
	if len(old) == 0 {
		return
	}
	last := old[len(old)-1]
	show := func(out *fuse.EntryOut) {
		a.f.versionEntry(out, last)
		out.Nlink = 1
		out.SetEntryTimeout(0)
		out.SetAttrTimeout(0)
	}
	op := keeper.Op{Kind: keeper.RemoveFile, Path: a.path(file)}
	a.act(ctx, &birth{place: place{dirOf(file), file.Name}, op: op, dying: show})
}

// edges raises the events of what has changed in the graph since the last time, and makes the kernel forget the old entries.
func (a *announcer) edges(ctx context.Context) {
	old, graph := a.f.store.AnnouncedGraph(), a.f.store.Graph()
	for _, dir := range old.Dirs {
		now, ok := graph.Dir(dir.Name)
		a.linksGone(ctx, dir, now)
		if !ok && !a.f.takeOwn(ownEdit{rootNode, string(dir.Name), DeleteDependency}) {
			show := func(out *fuse.EntryOut) { a.f.depEntry(out, dir) }
			op := keeper.Op{Kind: keeper.RemoveDir, Path: filepath.Join(a.f.mount, string(dir.Name))}
			a.act(ctx, &birth{place: place{rootNode, string(dir.Name)}, op: op, dying: show})
		}
	}
	for _, dir := range graph.Dirs {
		was, ok := old.Dir(dir.Name)
		if !ok && !a.f.takeOwn(ownEdit{rootNode, string(dir.Name), MakeDependency}) {
			op := keeper.Op{Kind: keeper.MakeDir, Path: filepath.Join(a.f.mount, string(dir.Name))}
			a.appear(ctx, &birth{place: place{rootNode, string(dir.Name)}, op: op})
		}
		a.linksCome(ctx, dir, was)
		a.poke(ctx, []keeper.Op{{Kind: keeper.InvalidateInode, Node: dir.ID}})
	}
	a.poke(ctx, []keeper.Op{{Kind: keeper.InvalidateInode, Node: rootNode}})
	if ctx.Err() == nil {
		a.f.store.GraphAnnounced(graph)
	}
}

func (a *announcer) linksGone(ctx context.Context, was, now disk.Dir) {
	for _, link := range was.Links {
		if _, ok := now.Link(link.Edge); ok || a.f.takeOwn(ownEdit{was.ID, string(link.Edge), Unsubscribe}) {
			continue
		}
		show := func(out *fuse.EntryOut) { a.f.linkEntry(out, link) }
		op := keeper.Op{Kind: keeper.RemoveFile, Path: a.linkPath(was, link.Edge)}
		a.act(ctx, &birth{place: place{was.ID, string(link.Edge)}, op: op, dying: show})
	}
}

func (a *announcer) linksCome(ctx context.Context, now, was disk.Dir) {
	var births []*birth
	for _, link := range now.Links {
		if _, ok := was.Link(link.Edge); ok || a.f.takeOwn(ownEdit{now.ID, string(link.Edge), Subscribe}) {
			continue
		}
		op := keeper.Op{Kind: keeper.MakeLink, Path: a.linkPath(now, link.Edge), Name: linkTarget(link.Edge)}
		births = append(births, &birth{place: place{now.ID, string(link.Edge)}, op: op})
	}
	a.appear(ctx, births...)
}

func (a *announcer) linkPath(dir disk.Dir, e registry.Edge) string {
	return filepath.Join(a.f.mount, string(dir.Name), string(e))
}

// ownEdit is a change of the graph that a system call here is making: it raises the event, so the poker must not.
type ownEdit struct {
	parent uint64
	name   string
	kind   EditKind
}

// takeOwn says whether a change of the graph was made here, once. What was announced to come and never did is forgotten in time.
func (f *FS) takeOwn(e ownEdit) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	when, ok := f.own[e]
	delete(f.own, e)
	return ok && now().Sub(when) < deferralLife
}

// expectOwn notes a change of the graph that is about to be made here; unexpectOwn that it was not made.
func (f *FS) expectOwn(e ownEdit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.own, func(_ ownEdit, when time.Time) bool { return now().Sub(when) > deferralLife })
	f.own[e] = now()
}

func (f *FS) unexpectOwn(e ownEdit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.own, e)
}

// born says whether a request is the poker's, acting out that a name comes or goes; its answer ends the act.
func (f *FS) born(in *fuse.InHeader, name string, dying bool) bool {
	return f.bornAt(in, in.NodeId, name, dying)
}

// bornAt is born of a request whose directory is not the first that it names.
func (f *FS) bornAt(in *fuse.InHeader, parent uint64, name string, dying bool) bool {
	if !f.isPoker(in) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.births[place{parent, name}]
	if b == nil || (b.dying != nil) != dying {
		return false
	}
	b.done = true
	return true
}

// actor says whether a request is a poker's that no birth accounts for: what it was to show has changed meanwhile, or it was asked for by
// a server before this one, which may have had another poker. It must not do for the whole fleet what was only to be shown here. A poker
// that is not known yet, or not any more, is told by its parent, the keeper, that has no other children but servers; one that is dead,
// and whoever else died over his request, by being gone.
func (f *FS) actor(in *fuse.InHeader, c caller) bool {
	switch keeper := uint64(os.Getppid()); {
	case f.isPoker(in):
		return true
	case c.thread == 0:
		return false // of a pid namespace that we do not see
	case c.process == 0:
		return true
	default:
		return keeper > 1 && statusField(c.process, "PPid:", 10) == keeper
	}
}

// unborn says whether the poker is about to make a file that somebody else has looked up already.
func (f *FS) unborn(file disk.File) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.births[place{dirOf(file), file.Name}]
	return b != nil && b.dying == nil && !b.done
}

// acted says whether the coming or going of a name is being acted out.
func (f *FS) acted(p place) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.births[p] != nil
}

// birthLookup answers a lookup by the poker of the name that it acts for.
func (f *FS) birthLookup(in *fuse.InHeader, name string, out *fuse.EntryOut) (fuse.Status, bool) {
	if !f.isPoker(in) {
		return fuse.OK, false
	}
	f.mu.Lock()
	b := f.births[place{in.NodeId, name}]
	f.mu.Unlock()
	switch {
	case b == nil:
		return fuse.OK, false
	case b.dying != nil:
		b.dying(out)
		return fuse.OK, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.done { // looked up again after it was made: it is there
		return fuse.OK, false
	}
	return fuse.ENOENT, true
}

// createBorn answers the poker's CREATE with the version that is already there.
func (f *FS) createBorn(in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	e, ok := f.store.Current(disk.File{Kind: kindOfDir(in.NodeId), Name: name})
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	f.versionEntry(&out.EntryOut, e)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}
