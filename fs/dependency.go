package fs

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// unlinkMember unsubscribes everybody who has a dependency: rm x.dep/NAME.
func (f *FS) unlinkMember(in *fuse.InHeader, c caller, dir disk.Dir, name string) fuse.Status {
	link, ok := dir.Link(registry.Edge(name))
	if !ok {
		return f.editGone(in.Pid, deferralKey{"unlink", in.NodeId, name, ""})
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
	return denied(f.edit(in.Pid, waiting, Edit{Kind: Unsubscribe, Dependency: dir.Name, Edge: link.Edge}))
}

// editGone answers for what the graph does not hold any more: this thread's own request may have removed it.
func (f *FS) editGone(thread uint32, key deferralKey) fuse.Status {
	d := f.deferralOf(thread)
	if d == nil || d.key != key {
		return fuse.ENOENT
	}
	return f.edit(thread, &deferral{key: d.key, path: d.path, caller: d.caller}, Edit{})
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
	if f.actor(in, c) {
		return fuse.Status(syscall.ESTALE)
	}
	if !ok {
		return f.refuseToMake(in, name)
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
		defer f.removalTook(d.caller.process, now())
		f.expectOwn(own)
		if err := f.o.Edit(ctx, e); err != nil {
			f.unexpectOwn(own)
			return err
		}
		if e.Kind == Subscribe {
			f.awaitArrival(ctx, d, e)
			f.swapBeside(d, f.fresh(registry.Config, registry.Serverset)...)
		}
		f.forgive(d.path)
		return nil
	})
	switch {
	case !repeated:
		return fuse.Status(syscall.ESTALE)
	case err != nil:
		return f.refuse(d.path, d.caller, err)
	}
	return fuse.OK
}

// lockedArrival bounds the wait for what was subscribed to of who has the directory locked meanwhile: it is less than he waits at all.
const lockedArrival = time.Second

// awaitArrival waits until what was subscribed to is here.
func (f *FS) awaitArrival(ctx context.Context, d *deferral, e Edit) {
	if f.o.Await == nil {
		return
	}
	timeout := askTimeout
	f.mu.Lock()
	if d.waiting {
		timeout = lockedArrival
	}
	f.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	f.o.Await(ctx, e)
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

// Mkdir makes a dependency: mkdir x.dep. It is empty, and nobody follows it; it is shown here, so that it can be filled.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if f.born(&in.InHeader, name, false) {
		return f.madeHere(name, out)
	}
	if in.NodeId != rootNode {
		return f.refuseToMake(&in.InHeader, name)
	}
	c := f.caller(&in.InHeader)
	if f.actor(&in.InHeader, c) {
		return fuse.Status(syscall.ESTALE)
	}
	refused := "dep/" + name
	dep, err := registry.ParseDependency(name)
	if err != nil && !strings.HasSuffix(name, ".dep") {
		err = fmt.Errorf("a directory is a dependency here, and called so: mkdir %s.dep: %w", name, syscall.EPERM)
	}
	if err == nil {
		err = f.mayEdit(c)
	}
	if err != nil {
		return f.refuse(refused, c, err)
	}
	waiting := &deferral{key: deferralKey{"mkdir", rootNode, name, ""}, hidden: true, path: refused, caller: c}
	if st := f.edit(in.Pid, waiting, Edit{Kind: MakeDependency, Dependency: dep}); !st.Ok() {
		return st
	}
	return f.madeHere(name, out)
}

// madeHere fills the entry of a dependency that was made.
func (f *FS) madeHere(name string, out *fuse.EntryOut) fuse.Status {
	dir, ok := f.store.Graph().Dir(registry.Dependency(name))
	if !ok {
		return fuse.EIO
	}
	f.depEntry(out, dir)
	return fuse.OK
}

// Rmdir deletes a dependency for everybody: rmdir x.dep. It has to be empty, and nobody's member.
func (f *FS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if f.born(in, name, true) {
		return fuse.OK
	}
	key := deferralKey{"rmdir", rootNode, name, ""}
	dir, ok := f.store.Graph().Dir(registry.Dependency(name))
	if in.NodeId != rootNode || !ok && !strings.HasSuffix(name, ".dep") {
		return fuse.EPERM
	}
	if !ok {
		return f.editGone(in.Pid, key)
	}
	c := f.caller(in)
	if f.actor(in, c) {
		return fuse.Status(syscall.ESTALE)
	}
	refused := "dep/" + name
	if err := f.mayEdit(c); err != nil {
		return f.refuse(refused, c, err)
	}
	if n := len(dir.Links); n > 0 {
		return f.refuse(refused, c, fmt.Errorf("%s has members (%d); rm them first, or: kingpin dep rm: %w", name, n, registry.ErrNotEmpty))
	}
	waiting := &deferral{
		key:     key,
		present: func(out *fuse.EntryOut) bool { f.depEntry(out, dir); return true },
		path:    refused,
		caller:  c,
	}
	return denied(f.edit(in.Pid, waiting, Edit{Kind: DeleteDependency, Dependency: dir.Name}))
}

// denied is an errno that rm and mv tell of rightly: rm -f takes EINVAL for a name that cannot exist, and so for success, and mv for a
// directory that is moved into itself.
func denied(status fuse.Status) fuse.Status {
	if status == fuse.EINVAL {
		return fuse.EPERM
	}
	return status
}

// removals are the latest removals of members and deciders by process: rm -rf x.dep would unsubscribe a fleet one unlink at a time.
type removals map[uint32][]time.Time

const (
	maxRemovals    = 3
	removalsWithin = 10 * time.Second
)

// noteReader notes that a process lists a dependency: rm -r, find -delete and their like do so before they remove all that is in it, and
// rm of a name does not.
func (f *FS) noteReader(process uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.readers, func(_ uint32, when time.Time) bool { return now().Sub(when) > removalsWithin })
	f.readers[process] = now()
}

// mayRemoveMember refuses what looks like an accident.
func (f *FS) mayRemoveMember(dep registry.Dependency, c caller) error {
	if dep == registry.BaseDependency {
		return fmt.Errorf("every machine follows %s; use kingpin dep rm: %w", dep, syscall.EPERM)
	}
	f.mu.Lock()
	listed, ok := f.readers[c.process]
	f.mu.Unlock()
	if ok && now().Sub(listed) <= removalsWithin {
		return fmt.Errorf("what removes all that it finds would unsubscribe everybody who has %s; rm its members by name, or use kingpin dep rm: %w",
			dep, syscall.EPERM)
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

// removalTook sees to it that the time which a removal takes does not count: who removes one after another, and waits for a slow registry
// each time, is at it nevertheless.
func (f *FS) removalTook(process uint32, began time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	took := now().Sub(began)
	for i, when := range f.removals[process] {
		f.removals[process][i] = when.Add(took)
	}
}
