package fs

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// settling is how long a new server answers no read OPEN with ESTALE: its predecessor may have told that thread once already,
// and the kernel passes a second ESTALE on to the program.
const settling = time.Second

// Open pins what a descriptor will see: for readers the version, for writers a draft.
func (f *FS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	writing := in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY
	switch classify(in.NodeId) {
	case versionClass:
		e, ok := f.store.ByStamp(disk.Stamp(in.NodeId))
		switch {
		case !ok:
			return fuse.Status(syscall.ESTALE)
		case writing && f.isPoker(&in.InHeader):
			if f.unborn(e.File) {
				return fuse.Status(syscall.ESTALE) // somebody has looked the new name up: it is to be created, not opened
			}
			out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
			return fuse.OK
		case writing:
			return f.openVersionToWrite(in, e, out)
		}
		return f.openVersion(in, e, out)
	case draftClass:
		return f.openDraft(in, out)
	case hiddenClass:
		return f.openHidden(cancel, in, out)
	}
	if writing {
		return fuse.EACCES
	}
	return f.openControl(in.NodeId, out)
}

// openVersion is the whole cost of reading a cached config: one round trip, answered from memory.
func (f *FS) openVersion(in *fuse.OpenIn, e disk.Entry, out *fuse.OpenOut) fuse.Status {
	pinned := e
	current, ok := f.store.Current(e.File)
	stale := ok && current.Stamp != e.Stamp
	switch {
	case stale && (in.Pid == 0 || f.bypassed(in.Pid, e) || f.settles() && f.known(current)):
		// The program has this inode without a name that could be looked up: a file bind-mounted by itself. It must
		// not stay on an old version for ever. A thread that cannot be told from others (pid 0) might be such a one.
		pinned = current
		out.OpenFlags |= fuse.FOPEN_DIRECT_IO
	case stale && !f.settles() && f.goneStale(in.Pid, e):
		return fuse.Status(syscall.ESTALE)
	case !stale:
		f.arrived(in.Pid, e)
	}
	if err := f.bodies.check(pinned.Stamp); err != nil {
		return f.unreadable(in.Pid, pinned, err)
	}
	if pinned.Stamp != e.Stamp {
		f.mu.Lock()
		f.pins[pinned.Stamp]++
		f.mu.Unlock()
	}
	out.Fh = uint64(pinned.Stamp)
	if out.OpenFlags == 0 {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	out.OpenFlags |= fuse.FOPEN_NOFLUSH
	return fuse.OK
}

func (f *FS) settles() bool { return time.Since(f.started) <= settling }

// known says whether the kernel was made to forget the versions before this one so long ago that who opens one of them has no name.
func (f *FS) known(e disk.Entry) bool {
	return f.store.LastAnnounced(e.File) == e.Stamp && time.Since(e.Stamp.Time()) > settling/2
}

// unreadable answers an open of a body that is damaged. disk has put an older good version in its place if it had one: then
// the kernel is sent to look the name up again.
func (f *FS) unreadable(thread uint32, e disk.Entry, err error) fuse.Status {
	f.log.Error("body unreadable", "name", e.File.String(), "version", e.Version, "err", err)
	current, ok := f.store.Current(e.File)
	if ok && current.Stamp != e.Stamp && f.goneStale(thread, e) {
		return fuse.Status(syscall.ESTALE)
	}
	return fuse.EIO
}

// openControl takes a snapshot of a status file or a refusal.
func (f *FS) openControl(node uint64, out *fuse.OpenOut) fuse.Status {
	content, ok := f.refusalText(node)
	if name, isStatus := f.statusByID[node]; isStatus {
		content, ok = f.o.Status[name](), true
	}
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.Fh = f.open(&handle{node: node, content: content})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Read answers from the version that the handle names, from the draft it belongs to, or from the snapshot it holds.
func (f *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	switch {
	case in.Fh&draftBit == 0 && classify(in.Fh) == versionClass:
		n, err := f.bodies.readAt(disk.Stamp(in.Fh), buf, int64(in.Offset))
		if err != nil {
			f.log.Error("read body", "node", in.Fh, "err", err)
			return nil, fuse.EIO
		}
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	h := f.handle(in.Fh)
	switch {
	case h == nil && classify(in.NodeId) == hiddenClass:
		return f.readHidden(cancel, in, buf)
	case h == nil:
		return nil, fuse.EIO // of a server that died
	case h.draft != nil:
		n, err := h.draft.readAt(buf, int64(in.Offset))
		if err != nil {
			return nil, status(err)
		}
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	rest := h.content[min(in.Offset, uint64(len(h.content))):]
	return fuse.ReadResultData(buf[:copy(buf, rest)]), fuse.OK
}

// bodies reads the bodies of versions. A body is checked once, when it is first opened, and read about once, since the kernel
// keeps its pages; so few descriptors stay open.
type bodies struct {
	store *disk.Store

	mu   sync.Mutex
	good map[disk.Stamp]struct{} // checked since this process started
	open map[disk.Stamp]*os.File
	used []disk.Stamp // the open ones, oldest first
}

// openBodies is how many bodies stay open between reads.
const openBodies = 64

func newBodies(store *disk.Store) *bodies {
	return &bodies{store: store, good: map[disk.Stamp]struct{}{}, open: map[disk.Stamp]*os.File{}}
}

// check makes sure that the body is there and whole.
func (b *bodies) check(s disk.Stamp) error {
	b.mu.Lock()
	_, good := b.good[s]
	b.mu.Unlock()
	if good {
		return nil
	}
	file, err := b.store.OpenBody(s)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.good[s] = struct{}{}
	b.keep(s, file)
	return nil
}

// quick says whether check would answer from memory, or almost.
func (b *bodies) quick(s disk.Stamp) bool {
	b.mu.Lock()
	_, good := b.good[s]
	b.mu.Unlock()
	if good {
		return true
	}
	e, ok := b.store.ByStamp(s)
	return !ok || e.Size <= quickHash
}

func (b *bodies) readAt(s disk.Stamp, buf []byte, off int64) (int, error) {
	b.mu.Lock()
	file, ok := b.open[s]
	if !ok {
		b.mu.Unlock()
		var err error
		if file, err = b.store.OpenBody(s); err != nil {
			return 0, err
		}
		b.mu.Lock()
		b.keep(s, file)
	}
	b.mu.Unlock()
	n, err := file.ReadAt(buf, off)
	if errors.Is(err, os.ErrClosed) { // pushed out meanwhile
		return b.readAt(s, buf, off)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	return n, nil
}

// keep remembers an open body and closes the oldest beyond the limit. b.mu is held.
func (b *bodies) keep(s disk.Stamp, file *os.File) {
	if _, ok := b.open[s]; ok {
		file.Close()
		return
	}
	b.open[s] = file
	b.used = append(b.used, s)
	if len(b.used) > openBodies {
		oldest := b.used[0]
		b.used = b.used[1:]
		b.open[oldest].Close()
		delete(b.open, oldest)
	}
}

// forget closes a body that is about to be deleted.
func (b *bodies) forget(s disk.Stamp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.good, s)
	if file, ok := b.open[s]; ok {
		file.Close()
		delete(b.open, s)
		for i, u := range b.used {
			if u == s {
				b.used = append(b.used[:i], b.used[i+1:]...)
				break
			}
		}
	}
}

// content is a whole body, for a draft made from it.
func (b *bodies) content(s disk.Stamp) ([]byte, error) {
	file, err := b.store.OpenBody(s)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(registry.ErrChecksum, err)
	}
	return data, nil
}
