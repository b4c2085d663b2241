package fs

import (
	"context"
	"fmt"
	"path"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Rename publishes a scratch file that is renamed over a config or a decider: the way editors, sed -i and rsync write. These
// themselves keep their names, which are their identities.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if f.bornAt(&in.InHeader, in.Newdir, newName, false) {
		return fuse.OK
	}
	c := f.caller(&in.InHeader)
	target := disk.File{Kind: kindOfDir(in.NodeId), Name: newName}
	d := f.scratchOf(in.NodeId, oldName, in.Uid)
	switch {
	case in.Flags&^renameNoReplace != 0:
		return fuse.EINVAL
	case d != nil && in.Newdir != in.NodeId:
		return fuse.Status(syscall.EXDEV)
	case d == nil:
		err := fmt.Errorf("a name is an identity and cannot be changed: %w", syscall.EPERM)
		return f.refuse(f.refusalPath(in.NodeId, oldName), c, err)
	}
	current, exists := f.store.Current(target)
	create := false
	if !exists {
		var err error
		if create, err = f.identity(target, false); err != nil {
			return f.refuse(target.String(), c, err)
		}
	}
	if !exists && !create {
		f.renameScratch(d, newName)
		return fuse.OK
	}
	if err := f.mayWrite(target, c); err != nil {
		return f.refuse(target.String(), c, err)
	}
	waiting := &deferral{
		key:    deferralKey{"rename", in.NodeId, oldName, newName},
		path:   target.String(),
		caller: c,
	}
	repeated, err := f.later(in.Pid, waiting, func(ctx context.Context) error {
		return f.publishScratch(ctx, d, target, current, create)
	})
	switch {
	case !repeated:
		return fuse.Status(syscall.ESTALE)
	case err != nil:
		return f.refuse(target.String(), c, err)
	}
	f.adopt(d, target)
	return fuse.OK
}

const renameNoReplace = 1 // RENAME_NOREPLACE of renameat2(2), which the kernel takes care of

// publishScratch publishes a scratch file's bytes as the new version of target; last writer wins, as with any rename.
func (f *FS) publishScratch(ctx context.Context, d *draft, target disk.File, current disk.Entry, create bool) error {
	d.mu.Lock()
	p, err := f.publication(d, target, renamed)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	p.Base, p.CompareAndSet = current.Version, false
	p.Create = p.Create || create && target.Kind == registry.Config
	e, err := f.o.Publish(ctx, p)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.base, d.dirty = e, false
	d.mu.Unlock()
	f.forgive(target.String())
	return nil
}

// adopt makes a scratch file that was published a draft of what it became, for a writer that still has it open.
func (f *FS) adopt(d *draft, target disk.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.scratch, d.file)
	if d.handles == 0 {
		delete(f.drafts, d.node)
		return
	}
	d.scratch, d.cut, d.file = false, false, target
}

func (f *FS) renameScratch(d *draft, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropScratch(disk.File{Kind: d.file.Kind, Name: name})
	delete(f.scratch, d.file)
	d.file.Name = name
	f.scratch[d.file] = d
}

// Unlink removes a scratch file, a decider, or a member of a dependency. A config is not removed by rm: what others read must not
// vanish.
func (f *FS) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if f.born(in, name, true) || f.isPoker(in) && in.NodeId == pokeNode {
		return fuse.OK
	}
	if d := f.scratchOf(in.NodeId, name, in.Uid); d != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dropScratch(d.file)
		return fuse.OK
	}
	c := f.caller(in)
	if in.NodeId == deciderNode {
		return f.unlinkDecider(in, c, name)
	}
	dir, ok := depByID(f.store.Graph(), in.NodeId)
	if !ok {
		err := fmt.Errorf("a published name is not removed; to unsubscribe: rm DEPENDENCY.dep/%s: %w", name, syscall.EPERM)
		return f.refuse(f.refusalPath(in.NodeId, name), c, err)
	}
	link, ok := dir.Link(registry.Edge(name))
	if !ok {
		return f.unlinkGone(in, name)
	}
	path := "dep/" + string(dir.Name)
	if err := f.mayEdit(c); err != nil {
		return f.refuse(path, c, err)
	}
	if f.deferralOf(in.Pid) == nil {
		if err := f.mayRemoveMember(dir.Name, c); err != nil {
			return f.refuse(path, c, err)
		}
	}
	waiting := &deferral{
		key:     deferralKey{"unlink", in.NodeId, name, ""},
		present: func(out *fuse.EntryOut) bool { f.linkEntry(out, link); return true },
		path:    path,
		caller:  c,
	}
	return f.edit(in.Pid, waiting, Edit{Kind: Unsubscribe, Dependency: dir.Name, Edge: link.Edge})
}

// unlinkGone answers for a member that the graph does not hold any more: this thread's own request may have removed it.
func (f *FS) unlinkGone(in *fuse.InHeader, name string) fuse.Status {
	d := f.deferralOf(in.Pid)
	if d == nil || d.key != (deferralKey{"unlink", in.NodeId, name, ""}) {
		return fuse.ENOENT
	}
	return f.edit(in.Pid, &deferral{key: d.key, path: d.path, caller: d.caller}, Edit{})
}

// Symlink subscribes everybody who has the dependency: ln -s ../config/NAME x.dep/.
func (f *FS) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	dir, ok := depByID(f.store.Graph(), in.NodeId)
	if f.born(in, name, false) {
		link, _ := dir.Link(registry.Edge(name))
		f.linkEntry(out, link)
		return fuse.OK
	}
	c := f.caller(in)
	if !ok {
		return fuse.EPERM
	}
	refused := "dep/" + string(dir.Name)
	if err := f.mayEdit(c); err != nil {
		return f.refuse(refused, c, err)
	}
	edge, err := registry.ParseEdge(name)
	if err == nil && path.Base(target) != name {
		err = fmt.Errorf("the link must be called like what it points to: ln -s %s %s/: %w", linkTarget(edge), dir.Name, registry.ErrInvalid)
	}
	if err != nil {
		return f.refuse(refused, c, err)
	}
	waiting := &deferral{
		key:    deferralKey{"symlink", in.NodeId, name, target},
		hidden: true,
		path:   refused,
		caller: c,
	}
	if st := f.edit(in.Pid, waiting, Edit{Kind: Subscribe, Dependency: dir.Name, Edge: edge}); !st.Ok() {
		return st
	}
	dir, _ = depByID(f.store.Graph(), in.NodeId)
	link, ok := dir.Link(edge)
	if !ok {
		return fuse.EIO
	}
	f.linkEntry(out, link)
	return fuse.OK
}

// edit changes the graph without holding up the directory.
func (f *FS) edit(thread uint32, d *deferral, e Edit) fuse.Status {
	own := ownEdit{d.key.parent, d.key.name, e.Kind}
	repeated, err := f.later(thread, d, func(ctx context.Context) error {
		f.expectOwn(own)
		err := f.o.Edit(ctx, e)
		if err != nil {
			f.unexpectOwn(own)
		}
		return err
	})
	switch {
	case !repeated:
		return fuse.Status(syscall.ESTALE)
	case err != nil:
		return f.refuse(d.path, d.caller, err)
	}
	return fuse.OK
}

func (f *FS) deferralOf(thread uint32) *deferral {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deferrals[thread]
}

func (f *FS) mayEdit(c caller) error {
	switch {
	case c.thread == 0:
		return errForeign
	case f.o.ReadOnly || f.o.Edit == nil:
		return fmt.Errorf("this mount is read only: %w", registry.ErrReadOnly)
	}
	return f.o.Writable()
}

// removals are the latest removals of members and deciders by process: rm -rf x.dep would unsubscribe a fleet one unlink at a time.
type removals map[uint32][]time.Time

const (
	maxRemovals    = 3
	removalsWithin = 10 * time.Second
)

// mayRemoveMember refuses what looks like an accident.
func (f *FS) mayRemoveMember(dep registry.Dependency, c caller) error {
	if dep == registry.BaseDependency {
		return fmt.Errorf("every machine follows %s; use kingpin dep rm: %w", dep, syscall.EPERM)
	}
	return f.mayRemove(c, "members", "kingpin dep rm")
}

// mayRemove refuses another removal by a process that is at it already.
func (f *FS) mayRemove(c caller, what, otherwise string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for process, times := range f.removals {
		if now().Sub(times[len(times)-1]) > removalsWithin {
			delete(f.removals, process)
		}
	}
	recent := f.removals[c.process]
	if len(recent) >= maxRemovals && now().Sub(recent[len(recent)-maxRemovals]) < removalsWithin {
		return fmt.Errorf("more than %d %s by one process in %s; use %s: %w",
			maxRemovals, what, removalsWithin, otherwise, syscall.EPERM)
	}
	f.removals[c.process] = append(recent, now())
	return nil
}

// refusalPath is where .error tells about a name in a directory.
func (f *FS) refusalPath(dir uint64, name string) string {
	if d, ok := depByID(f.store.Graph(), dir); ok {
		return "dep/" + string(d.Name)
	}
	if kind := kindOfDir(dir); kind != 0 {
		return kind.String() + "/" + name
	}
	return "dep/" + name
}

// Mkdir is refused: a dependency that nobody follows would not be seen here.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if dir, ok := f.store.Graph().Dir(registry.Dependency(name)); f.born(&in.InHeader, name, false) && ok {
		f.depEntry(out, dir)
		return fuse.OK
	}
	err := fmt.Errorf("to make a dependency: kingpin dep create %s: %w", name, syscall.EPERM)
	return f.refuse("dep/"+name, f.caller(&in.InHeader), err)
}

// Rmdir is refused: a dependency is deleted for everybody.
func (f *FS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if f.born(in, name, true) {
		return fuse.OK
	}
	err := fmt.Errorf("to delete a dependency: kingpin dep delete %s: %w", name, syscall.EPERM)
	return f.refuse("dep/"+name, f.caller(in), err)
}

// Link is refused: a version is made by publishing.
func (f *FS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Mknod is refused.
func (f *FS) Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Fallocate is refused.
func (f *FS) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}

// Tmpfile is refused: it would have no name to publish.
func (f *FS) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}
