package fs

import (
	"context"
	"fmt"
	"syscall"

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
	if f.actor(&in.InHeader, c) {
		return fuse.Status(syscall.ESTALE)
	}
	target := disk.File{Kind: kindOfDir(in.NodeId), Name: newName}
	d := f.scratchOf(in.NodeId, oldName, in.Uid)
	switch {
	case in.Flags&^renameNoReplace != 0:
		return fuse.EINVAL
	case d != nil && in.Newdir != in.NodeId:
		return fuse.Status(syscall.EXDEV)
	case d == nil && f.lostScratch(in.NodeId, oldName):
		err := fmt.Errorf("the temporary file %s went with a server that has died; whether it was published, the file shows: %w",
			oldName, registry.ErrUnknown)
		return f.refuse(target.String(), c, err)
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
		return f.publishScratch(ctx, d, target, current, create, waiting)
	})
	switch {
	case !repeated:
		return fuse.Status(syscall.ESTALE)
	case err != nil:
		return denied(f.refuse(target.String(), c, err))
	}
	f.adopt(d, target)
	f.published(target, c)
	return fuse.OK
}

const renameNoReplace = 1 // RENAME_NOREPLACE of renameat2(2), which the kernel takes care of

// lostScratch says whether the kernel takes a name for that of a file which nobody here knows: a request was begun with the server before.
func (f *FS) lostScratch(dir uint64, name string) bool {
	_, exists := f.store.Current(disk.File{Kind: kindOfDir(dir), Name: name})
	return holdsDrafts(dir) && !exists
}

// publishScratch publishes a scratch file's bytes as the new version of target; last writer wins, as with any rename.
func (f *FS) publishScratch(ctx context.Context, d *draft, target disk.File, current disk.Entry, create bool, by *deferral) error {
	d.mu.Lock()
	p, err := f.publication(d, target, renamed)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	p.Base, p.CompareAndSet = current.Version, false
	p.Create = p.Create || create && target.Kind == registry.Config
	others := f.beside(target)
	e, err := f.o.Publish(ctx, p)
	if err != nil {
		return err
	}
	f.swapBeside(by, others()...)
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
	if f.actor(in, c) {
		return fuse.Status(syscall.ESTALE)
	}
	if in.NodeId == deciderNode {
		return f.unlinkDecider(in, c, name)
	}
	if dir, ok := depByID(f.store.Graph(), in.NodeId); ok {
		return f.unlinkMember(in, c, dir, name)
	}
	if classify(in.NodeId) == hiddenClass {
		return fuse.EPERM // history does not change, and who closes his file of .register has left
	}
	err := fmt.Errorf("a published name is not removed; to unsubscribe: rm DEPENDENCY.dep/%s: %w", name, syscall.EPERM)
	if removesFirst[c.command] {
		err = fmt.Errorf("%s removes a file before it makes the new one, and a published name is not removed; use cp, without -a or -d: %w",
			c.command, syscall.EPERM)
	}
	return f.refuse(f.refusalPath(in.NodeId, name), c, err)
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

// removesFirst are the programs that remove a file to write it: install and mv always, cp -a since the file has two links.
var removesFirst = map[string]bool{"install": true, "mv": true, "cp": true}

// Link is refused: a version is made by publishing.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, _ *fuse.EntryOut) fuse.Status {
	return f.refuseToMake(&in.InHeader, name)
}

// Mknod is refused.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, _ *fuse.EntryOut) fuse.Status {
	return f.refuseToMake(&in.InHeader, name)
}

// refuseToMake refuses a link, a directory or a special file.
func (f *FS) refuseToMake(in *fuse.InHeader, name string) fuse.Status {
	if _, dep := depByID(f.store.Graph(), in.NodeId); !dep && kindOfDir(in.NodeId) == 0 {
		return fuse.EPERM // what is hidden, status and the like
	}
	err := fmt.Errorf("only regular files are made here: %w", syscall.EPERM)
	return f.refuse(f.refusalPath(in.NodeId, name), f.caller(in), err)
}

// Fallocate is refused.
func (f *FS) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}

// Tmpfile is refused: it would have no name to publish.
func (f *FS) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}
