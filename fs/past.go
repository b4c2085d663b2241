package fs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// Past is one version of a config that was published some time, the current one included: a file of .history/NAME.
type Past struct {
	Version   registry.Version
	Published time.Time         // when its publisher said so, or else when its body was stored; zero: nobody knows
	Author    string            // user@host; "": not said, or not asked for in a listing
	Message   string            // why, in the author's words; likewise
	Size      int64             // bytes of the body
	SHA256    registry.Checksum // of the body; likewise
	Replaces  registry.Version  // what was current before; likewise
}

// cached is what the cache tells of a body that it has.
func (h *histories) cached(node uint64) (p pastFile, ok bool) {
	about, err := h.cache.About(node)
	if err != nil || json.Unmarshal(about, &p) != nil || p.node() != node {
		return pastFile{}, false
	}
	p.asked = p.Replaces != ""
	return p, true
}

// openPast makes sure that the body of an old version is here.
func (f *FS) openPast(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EPERM
	}
	content, st := f.havePast(cancel, in.Pid, in.NodeId)
	if !st.Ok() {
		return st
	}
	out.Fh = in.NodeId // what a server after this one can read from
	if content != nil {
		out.Fh = f.open(&handle{node: in.NodeId, content: content}) // the disk did not take it
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// havePast fetches a body unless it is here, and holds it in the cache. What the cache could not keep comes back as content.
func (f *FS) havePast(cancel <-chan struct{}, thread uint32, node uint64) (content []byte, st fuse.Status) {
	if f.history.cache.Hold(node) {
		return nil, fuse.OK
	}
	p, ok := f.pastOf(node)
	if !ok {
		return nil, fuse.Status(syscall.ESTALE) // looked up once more it is known
	}
	err := f.ask(cancel, thread, func(ctx context.Context) error {
		return f.history.network(ctx, func() (err error) {
			content, err = f.fetchPast(ctx, p)
			return err
		})
	})
	if err != nil {
		return nil, asked(err)
	}
	return content, fuse.OK
}

// fetchPast brings a body into the cache.
func (f *FS) fetchPast(ctx context.Context, p pastFile) ([]byte, error) {
	if f.history.cache.Hold(p.node()) { // somebody else has fetched it
		return nil, nil
	}
	past, body, err := f.o.Version(ctx, p.Name, p.Version)
	if err != nil {
		return nil, err
	}
	if past.Size != p.Size || int64(len(body)) != p.Size {
		return nil, fmt.Errorf("version %s of %s has %d bytes, not %d: %w", p.Version, p.Name, len(body), p.Size, registry.ErrChecksum)
	}
	if past.Replaces == "" {
		past.Replaces = p.Replaces
	}
	p.Past = past
	f.history.keep(p)
	about, err := json.Marshal(p)
	if err == nil {
		err = f.history.cache.Put(p.node(), about, body)
	}
	if err != nil || !f.history.cache.Hold(p.node()) {
		f.log.Warn("an old version is not kept on disk", "name", p.Name, "version", p.Version, "err", err)
		return append([]byte{}, body...), nil
	}
	return nil, nil
}

// readPast reads from a body that openPast has brought here, perhaps that of a server before this one.
func (f *FS) readPast(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, err := f.history.cache.ReadAt(in.NodeId, buf, int64(in.Offset))
	if err != nil {
		content, st := f.havePast(cancel, in.Pid, in.NodeId)
		switch {
		case !st.Ok() && st != unanswered:
			return nil, fuse.EIO
		case !st.Ok():
			return nil, st
		case content != nil:
			rest := content[min(in.Offset, uint64(len(content))):]
			return fuse.ReadResultData(buf[:copy(buf, rest)]), fuse.OK
		}
		defer f.history.cache.Release(in.NodeId)
		if n, err = f.history.cache.ReadAt(in.NodeId, buf, int64(in.Offset)); err != nil {
			f.log.Error("read an old version", "node", in.NodeId, "err", err)
			return nil, fuse.EIO
		}
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// pastXattrs are the attributes of every old version. One that has no author, say, has an empty one: to leave it out of the list would
// mean to ask.
var pastXattrs = []string{"author", "message", "published", "replaces", "sha256", "version"}

// xattr is what is known of one of pastXattrs without asking; ok is false if somebody may know more.
func (p pastFile) xattr(name string) (value string, ok bool) {
	hashed := p.SHA256 != (registry.Checksum{})
	switch name {
	case "version":
		return string(p.Version), true
	case "published":
		return p.Published.UTC().Format(time.RFC3339Nano), true
	case "author":
		return p.Author, p.asked || hashed
	case "message":
		return p.Message, p.asked || hashed
	case "replaces":
		return string(p.Replaces), p.asked || p.Replaces != ""
	}
	return fmt.Sprintf("%x", p.SHA256), hashed
}

// pastXattr is one attribute of an old version. Who wrote it and why may have to be asked for.
func (f *FS) pastXattr(cancel <-chan struct{}, in *fuse.InHeader, name string) (string, fuse.Status) {
	if !slices.Contains(pastXattrs, name) {
		return "", fuse.ENODATA
	}
	p, ok := f.pastOf(in.NodeId)
	if !ok {
		return "", fuse.Status(syscall.ESTALE)
	}
	if value, ok := p.xattr(name); ok {
		return value, fuse.OK
	}
	err := f.ask(cancel, in.Pid, func(ctx context.Context) error {
		return f.history.network(ctx, func() (err error) {
			p.Past, err = f.o.About(ctx, p.Name, p.Version)
			return err
		})
	})
	if err != nil {
		return "", asked(err)
	}
	p.asked = true
	f.history.keep(p)
	if value, ok := p.xattr(name); ok {
		return value, fuse.OK
	}
	// The checksum of a body that the old system put: nobody has said it.
	if _, st := f.havePast(cancel, in.Pid, in.NodeId); !st.Ok() {
		return "", st
	}
	f.history.cache.Release(in.NodeId)
	p, _ = f.pastOf(in.NodeId)
	value, _ := p.xattr(name)
	return value, fuse.OK
}
