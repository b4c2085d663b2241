package fs

import (
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/sync/disk"
)

// Modes and owners are the monitor's to say, not a file's. Who copies a file with them does so after he has published it, though, and
// would take their refusal for one of the publication: the modes of a draft mean nothing, and so do those that the process that has
// just published a file gives it by its name.

// modeBits are what a change of mode or owner changes.
const modeBits = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID

// afterwards is how long a process that has published a file may still be at it.
const afterwards = 10 * time.Second

// wrote is who published a file through this mount, and when.
type wrote struct {
	process uint32
	when    time.Time
}

// published notes who has written a file last.
func (f *FS) published(file disk.File, c caller) {
	f.forgive(file.String())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrote[file] = wrote{c.process, now()}
}

// keepMode answers a change of mode or owner of what is no draft. It is accepted where it asks for what is so already, or comes from who
// has just published the file; either way nothing changes.
func (f *FS) keepMode(in *fuse.SetAttrIn) error {
	var is fuse.Attr
	if _, ok := f.attr(in.NodeId, &is); ok && same(in, &is) {
		return nil
	}
	e, ok := f.version(in.NodeId)
	if !ok {
		return syscall.EPERM
	}
	c := f.caller(&in.InHeader)
	f.mu.Lock()
	last, ok := f.wrote[e.File]
	f.mu.Unlock()
	if ok && c.process != 0 && last.process == c.process && now().Sub(last.when) < afterwards {
		return nil
	}
	err := fmt.Errorf("modes and owners are those of every file here, the monitor's --publish-group says who may write: %w", syscall.EPERM)
	f.remember(e.File.String(), c, err)
	return err
}

// refuseCut refuses truncate(2), which names a file and opens nothing: there is no draft that could be cut.
func (f *FS) refuseCut(in *fuse.SetAttrIn) fuse.Status {
	e, ok := f.version(in.NodeId)
	if !ok {
		return fuse.EPERM
	}
	err := fmt.Errorf("a file is cut by who has it open, as ftruncate(2) does: %w", syscall.EPERM)
	return f.refuse(e.File.String(), f.caller(&in.InHeader), err)
}

// same says whether the modes and owners that are asked for are those that are there.
func same(in *fuse.SetAttrIn, is *fuse.Attr) bool {
	const bits = 0o7777
	return (in.Valid&fuse.FATTR_MODE == 0 || in.Mode&bits == is.Mode&bits) &&
		(in.Valid&fuse.FATTR_UID == 0 || in.Uid == is.Uid) &&
		(in.Valid&fuse.FATTR_GID == 0 || in.Gid == is.Gid)
}
