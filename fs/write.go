package fs

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// openVersionToWrite sends a writer to a draft of its own: ESTALE makes the kernel look the name up again, and that lookup
// leads there. What can be refused is refused here, since every program reports a failing open.
func (f *FS) openVersionToWrite(in *fuse.OpenIn, e disk.Entry, out *fuse.OpenOut) fuse.Status {
	c := f.caller(&in.InHeader)
	err := f.mayOpen(e.File, c)
	if err == nil {
		err = f.o.Quota(e.File) // shells drop the error of the close
	}
	if err != nil {
		return f.refuse(e.File.String(), c, err)
	}
	f.mu.Lock()
	k := keyOf(in.Pid, e)
	r := f.redirect(k)
	if r == nil || !r.write || r.looked {
		f.expect(k, &redirect{write: true, caller: c})
		f.mu.Unlock()
		return fuse.Status(syscall.ESTALE)
	}
	// It came straight back: it has no name to look up (a file bind-mounted by itself, /proc/self/fd/N). It gets a
	// draft by its handle, on the inode of the version. The redirect stays for the truncation of O_TRUNC, which names neither.
	current, ok := f.store.Current(e.File)
	if !ok {
		current = e
	}
	d := f.newDraft(e.File, false, c)
	d.startFrom(current, f.loader(current))
	d.appends = in.Flags&syscall.O_APPEND != 0
	d.handles = 1
	r.draft, r.nameless = d, true
	f.mu.Unlock()
	out.Fh = f.open(&handle{node: in.NodeId, draft: d})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// errForeign refuses a writer whose thread the header does not name: it would be given another one's draft.
var errForeign = fmt.Errorf("the writer is in a pid namespace that the monitor cannot see into: %w", registry.ErrPermission)

// mayWrite says why a write to a file would be refused whatever its bytes are. It waits for nobody, since the kernel may hold the
// directory's lock.
func (f *FS) mayWrite(file disk.File, c caller) error {
	if err := f.mayEver(file, c); err != nil {
		return err
	}
	return f.o.Writable()
}

// mayOpen is mayWrite of an open by which no lock is held.
func (f *FS) mayOpen(file disk.File, c caller) error {
	if err := f.mayEver(file, c); err != nil {
		return err
	}
	return f.o.Reach()
}

// mayEver says why a write is refused whether anybody can be reached or not.
func (f *FS) mayEver(file disk.File, c caller) error {
	switch {
	case c.thread == 0:
		return errForeign
	case f.o.ReadOnly || f.o.Publish == nil:
		return fmt.Errorf("this mount is read only: %w", registry.ErrReadOnly)
	case file.Kind == registry.Serverset:
		return fmt.Errorf("a serverset is written by those who register in it: %w", registry.ErrReadOnly)
	}
	return nil
}

// loader reads the bytes of a version when they are needed. A body that a draft was made from is not deleted meanwhile (prune).
func (f *FS) loader(e disk.Entry) func() ([]byte, error) {
	return func() ([]byte, error) { return f.bodies.content(e.Stamp) }
}

// openDraft gives a draft another descriptor: the one its lookup was for, mostly.
func (f *FS) openDraft(in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.draft(in.NodeId) == nil {
		if st := f.reviveDraft(in); !st.Ok() {
			return st
		}
	}
	f.mu.Lock()
	d := f.drafts[in.NodeId]
	if d == nil {
		f.mu.Unlock()
		return fuse.Status(syscall.ESTALE)
	}
	d.handles++
	if !d.scratch {
		delete(f.redirects, redirectKey{in.Pid, dirOf(d.file), d.file.Name})
	}
	f.mu.Unlock()
	if in.Flags&syscall.O_APPEND != 0 {
		d.mu.Lock()
		d.appends = d.appends || !d.written && !d.cut
		d.mu.Unlock()
	}
	out.Fh = f.open(&handle{node: in.NodeId, draft: d})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// reviveDraft begins a draft once more that a writer looked up at a server that has died since, under the id that it was given.
func (f *FS) reviveDraft(in *fuse.OpenIn) fuse.Status {
	current, ok := f.orphaned(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	c := f.caller(&in.InHeader)
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		if err := f.mayWrite(current.File, c); err != nil {
			return f.refuse(current.File.String(), c, err)
		}
	}
	d := &draft{node: in.NodeId, file: current.File, caller: c, created: now()}
	d.startFrom(current, f.loader(current))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drafts[d.node] = d
	return fuse.OK
}

// Create makes a scratch file, or begins a decider, or a config that does not exist yet where that is allowed. It is local: the kernel
// holds the directory's lock.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if f.born(&in.InHeader, name, false) {
		return f.createBorn(in, name, out)
	}
	if f.isPoker(&in.InHeader) {
		return fuse.Status(syscall.ESTALE) // asked for by a server before this one
	}
	if isHidden(in.NodeId, registerDirKind) {
		return f.createHold(in, name, out)
	}
	c := f.caller(&in.InHeader)
	if !holdsDrafts(in.NodeId) {
		return fuse.EPERM
	}
	file := disk.File{Kind: kindOfDir(in.NodeId), Name: name}
	if err := f.mayWrite(file, c); err != nil {
		return f.refuse(file.String(), c, err)
	}
	identity, err := f.identity(file, in.Flags&syscall.O_EXCL != 0)
	if err != nil {
		return f.refuse(file.String(), c, err)
	}
	f.mu.Lock()
	d := f.newDraft(file, !identity, c)
	d.handles, d.cut, d.create = 1, true, identity
	if d.scratch {
		f.keepScratch(d)
	}
	f.mu.Unlock()
	f.draftEntry(&out.EntryOut, d)
	out.Fh = f.open(&handle{node: d.node, draft: d})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// Write changes the draft. It refuses what can never become a good version, because shells report a failing write and drop
// the error of a failing close; for the same reason a decider is published by the write that ends its line.
func (f *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if isHidden(in.NodeId, holdKind) {
		return f.writeHold(in, data)
	}
	h := f.handle(in.Fh)
	if h == nil || h.draft == nil {
		return 0, fuse.EIO // a draft of a server that died: saying OK would lose a write
	}
	off := int64(in.Offset)
	if in.Flags&syscall.O_APPEND != 0 {
		off = atEnd
	}
	complete, err := h.draft.writeAt(data, off, f.o.MaxBody)
	if err != nil {
		return 0, f.refuse(h.draft.file.String(), h.draft.caller, err)
	}
	if complete {
		if st := f.completed(cancel, in.Pid, h.draft); !st.Ok() {
			return 0, st
		}
	}
	return uint32(len(data)), fuse.OK
}

// SetAttr cuts drafts to length. Modes, owners and times of drafts are accepted and mean nothing, so that cp -p, rsync -a
// and configuration management tools do not fail; on a config times are, and modes as mode.go says.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	d, byHandle := f.draftOf(in)
	size, hasSize := in.GetSize()
	switch {
	case isHidden(in.NodeId, holdKind) && hasSize:
		if st := f.cutHold(in.NodeId, size); !st.Ok() {
			return st
		}
	case d == nil && classify(in.NodeId) == draftClass:
		return fuse.EIO
	case d == nil && f.isPoker(&in.InHeader):
	case d == nil && hasSize && size == 0 && f.truncatedByOpen(in):
		return fuse.Status(syscall.ESTALE)
	case d == nil && hasSize:
		return f.refuseCut(in)
	case d == nil && in.Valid&modeBits != 0:
		if err := f.keepMode(in); err != nil {
			return status(err)
		}
	case d != nil && hasSize:
		byOpen := !byHandle && !d.scratch
		if err := d.truncate(int64(size), byOpen, f.o.MaxBody); err != nil {
			return f.refuse(d.file.String(), d.caller, err)
		}
	}
	valid, ok := f.attr(in.NodeId, &out.Attr)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(valid)
	return fuse.OK
}

// draftOf is the draft that an attribute change is for: its handle's, the node's, or for a version that was opened without a
// name the one this thread has just been given.
func (f *FS) draftOf(in *fuse.SetAttrIn) (d *draft, byHandle bool) {
	if fh, ok := in.GetFh(); ok {
		if h := f.handle(fh); h != nil {
			return h.draft, true
		}
		return nil, true
	}
	if d := f.draft(in.NodeId); d != nil || classify(in.NodeId) != versionClass {
		return d, false
	}
	e, ok := f.store.ByStamp(disk.Stamp(in.NodeId))
	if !ok {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := keyOf(in.Pid, e)
	if r := f.redirect(k); r != nil && r.nameless {
		delete(f.redirects, k)
		return r.draft, false
	}
	return nil, false
}

// truncatedByOpen says whether a thread that cuts a version to nothing does so in an open, whose draft was with a server that has died
// since, or has taken its time. It is sent to begin again.
func (f *FS) truncatedByOpen(in *fuse.SetAttrIn) bool {
	e, ok := f.store.ByStamp(disk.Stamp(in.NodeId))
	var buf [256]byte
	call, _, _ := bytes.Cut(readProc(in.Pid, "syscall", buf[:]), []byte(" "))
	if number, err := strconv.Atoi(string(call)); !ok || err != nil || number == unix.SYS_TRUNCATE {
		return false
	}
	c := f.caller(&in.InHeader)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expect(keyOf(in.Pid, e), &redirect{write: true, caller: c})
	return true
}

// Fsync publishes at once: the precise barrier.
func (f *FS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.handle(in.Fh)
	switch {
	case isHidden(in.NodeId, holdKind):
		return f.syncHold(cancel, in)
	case h != nil && h.draft != nil && !h.draft.scratch:
		return f.publishAndWait(cancel, in.Pid, h.draft, synced)
	case h == nil && in.Fh&draftBit != 0:
		return fuse.EIO
	}
	return fuse.OK
}

// Flush publishes when it is the writer's last: bytes were written, and the process that opened the file closes its last
// descriptor of it. A flush by a child, by a process that a signal kills, or by one that goes on writing says nothing.
func (f *FS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := f.handle(in.Fh)
	switch {
	case classify(in.NodeId) == hiddenClass:
		return fuse.OK
	case h == nil && in.Fh&draftBit != 0:
		return fuse.EIO
	case h == nil || h.draft == nil || h.draft.scratch || !f.finalFlush(h.draft, in.Pid):
		return fuse.OK
	}
	return f.publishAndWait(cancel, in.Pid, h.draft, closed)
}

func (f *FS) finalFlush(d *draft, thread uint32) bool {
	d.mu.Lock()
	dirty, ino := d.dirty, d.node
	if d.origin.Stamp != 0 {
		ino = uint64(d.origin.Stamp)
	}
	d.mu.Unlock()
	if !dirty {
		return false
	}
	process := d.caller.process
	if thread != d.caller.thread {
		process = threadGroup(thread)
	}
	if process != 0 && d.caller.process != 0 && process != d.caller.process {
		return false
	}
	if process == 0 {
		return true
	}
	others, alive := writable(process, d.node, ino)
	if !alive && wasKilled(process) {
		d.mu.Lock()
		d.killed = true
		d.mu.Unlock()
		return false
	}
	return others == 0 || f.draftsOf(process, d.file) > 1
}

// draftsOf counts the drafts of one file that a process has open: their descriptors cannot be told apart from outside.
func (f *FS) draftsOf(process uint32, file disk.File) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := 0
	for _, d := range f.drafts {
		if d.caller.process == process && d.file == file {
			count++
		}
	}
	return count
}

// Release ends a descriptor. A draft that is still dirty when its last one goes was written by a process that handed it on: it is
// published late, and a failure goes to .error since nobody is left to tell.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	f.mu.Lock()
	h := f.handles[in.Fh]
	delete(f.handles, in.Fh)
	if pinned := disk.Stamp(in.Fh); h == nil && in.Fh != in.NodeId && f.pins[pinned] > 0 {
		if f.pins[pinned]--; f.pins[pinned] == 0 {
			delete(f.pins, pinned)
		}
	}
	f.mu.Unlock()
	if classify(in.NodeId) == hiddenClass {
		f.releaseHidden(in)
		return
	}
	if h == nil || h.draft == nil || !f.release(h.draft) || h.draft.scratch {
		return
	}
	d := h.draft
	d.mu.Lock()
	unpublished := d.dirty && !d.killed && d.failed == nil
	d.mu.Unlock()
	if !unpublished {
		return
	}
	f.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
		defer cancel()
		if _, err := f.publish(ctx, d, late); err != nil {
			f.refuse(d.file.String(), d.caller, err)
		}
	})
}
