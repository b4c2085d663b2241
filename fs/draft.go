package fs

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// draft is one writer's private copy of a config or a decider, or a scratch file. Nobody else sees it until it is published.
type draft struct {
	node    uint64
	file    disk.File
	caller  caller
	scratch bool       // a local file that is neither: published only by a rename over one
	create  bool       // the file does not exist yet, and writing this creates it
	origin  disk.Entry // the version it was made from; zero for a new file
	created time.Time

	unlinked atomic.Bool // a scratch file whose name is gone

	publishing sync.Mutex // held by the one publication under way; taken before mu

	mu       sync.Mutex
	base     disk.Entry // what a compare-and-set compares with: origin, then what was published last
	load     func() ([]byte, error)
	buf      []byte
	written  bool  // a byte was written
	dirty    bool  // there is something to publish
	edits    int   // counts changes, to see one that happens during a publication
	cut      bool  // cut to zero before its first byte: last writer wins
	appends  bool  // opened with O_APPEND: re-based when it loses a race
	start0   int64 // where the appended bytes start
	killed   bool  // its writer was killed by a signal: never published
	failed   error // why it was refused; its bytes are gone
	modified time.Time
	handles  int // FS.mu guards this one

	original func() ([]byte, error) // the bytes of origin
	judged   bool                   // json was decided on
	json     *registry.JSONCheck    // follows what is written in order; nil: it was not, or is no JSON
	mustJSON bool                   // the name is known as JSON, and nothing else may be written to it
	checked  int64                  // bytes that json has seen

	message string            // why, by xattr
	force   bool              // insists on emptying or shrinking, by xattr
	expect  *registry.Version // the version it means to replace, by xattr
}

// newDraft registers a draft. f.mu is held.
func (f *FS) newDraft(file disk.File, scratch bool, c caller) *draft {
	id := draftID(file, scratch, f.incarnation, f.serial.Add(1))
	d := &draft{node: id, file: file, scratch: scratch, caller: c, created: now(), modified: now()}
	f.drafts[d.node] = d
	return d
}

// orphaned is the current version of the file that a draft of a dead server was made for: the writer had looked it up, and comes
// to open it now. Its bytes, if it had any, are lost, and whoever wrote them is told by the next write, flush or fsync.
func (f *FS) orphaned(node uint64) (e disk.Entry, ok bool) {
	if node&scratchBit != 0 {
		return disk.Entry{}, false
	}
	hash := node >> (counterBits + incarnationBits) & (1<<nameBits - 1)
	for _, kind := range []registry.Kind{registry.Config, registry.Decider} {
		for _, other := range f.store.List(kind) {
			if fileHash(other.File) != hash {
				continue
			}
			if ok { // two names of one hash: better no file than the wrong one
				return disk.Entry{}, false
			}
			e, ok = other, true
		}
	}
	return e, ok
}

// draft returns the draft of a node id, or nil.
func (f *FS) draft(node uint64) *draft {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drafts[node]
}

// startFrom makes the draft a copy of a version. The bytes are read when they are needed: most writers cut the file to zero first.
func (d *draft) startFrom(e disk.Entry, load func() ([]byte, error)) {
	d.origin, d.base, d.load, d.original = e, e, load, load
	d.start0 = e.Size
	d.modified = time.Unix(0, int64(e.Stamp))
}

// stat is the draft's size and the time of its last change.
func (d *draft) stat() (size int64, modified time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.load != nil {
		return d.base.Size, d.modified
	}
	return int64(len(d.buf)), d.modified
}

// ensure reads the bytes that the draft began with. d.mu is held.
func (d *draft) ensure() error {
	if d.load == nil {
		return nil
	}
	data, err := d.load()
	if err != nil {
		return err
	}
	d.buf, d.load = data, nil
	return nil
}

func (d *draft) readAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ensure(); err != nil {
		return 0, err
	}
	if off >= int64(len(d.buf)) {
		return 0, nil
	}
	return copy(p, d.buf[off:]), nil
}

// errGone is why a descriptor whose bytes were refused takes no others: what it had would be missing in what it publishes.
var errGone = fmt.Errorf("earlier bytes of this file were refused: %w", registry.ErrUnknown)

// atEnd is the offset of what is appended. The kernel's own offset is the size that it last saw, and the draft may have grown since: by
// what a lost race put in front of the bytes that it has.
const atEnd = -1

// writeAt changes the draft's bytes; limit is the size that a body may have. What is complete, a decider's line or a JSON value,
// is for the write to deal with.
func (d *draft) writeAt(p []byte, off, limit int64) (complete bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return false, errGone
	}
	if err := d.ensure(); err != nil {
		return false, d.fail(err)
	}
	if off == atEnd {
		off = int64(len(d.buf))
	}
	end := off + int64(len(p))
	if end > limit {
		return false, d.fail(fmt.Errorf("%d bytes, at most %d: %w", end, limit, registry.ErrTooLarge))
	}
	if err := d.checkJSON(p, off); err != nil {
		return false, d.fail(fmt.Errorf("the config holds JSON: %w", err))
	}
	d.resize(max(end, int64(len(d.buf))))
	copy(d.buf[off:], p)
	if off < d.start0 {
		d.start0 = 0 // not only appended to
		d.appends = false
	}
	d.written = true
	d.changed()
	if !d.decides() {
		return d.json != nil && d.json.Complete(), nil
	}
	if complete, err = registry.ContinueDecider(d.buf); err != nil {
		return false, d.fail(err)
	}
	return complete, nil
}

// checkJSON refuses bytes that cannot be continued to JSON, if the file was JSON. It can judge what is written in order into an empty
// file; anything else is judged when it is published. d.mu is held.
func (d *draft) checkJSON(p []byte, off int64) error {
	if !d.judged && d.file.Kind == registry.Config {
		d.judged = true
		if d.cut && !d.scratch {
			d.json = &registry.JSONCheck{}
		}
		if d.json != nil && !d.force && d.original != nil {
			body, err := d.original()
			d.mustJSON = err == nil && registry.HoldsJSON(body)
		}
	}
	if d.json == nil || off != d.checked {
		d.json = nil
		return nil
	}
	d.checked += int64(len(p))
	_, err := d.json.Write(p)
	if err != nil && !d.mustJSON {
		d.json, err = nil, nil
	}
	return err
}

// truncate sets the draft's length. Truncation as a part of open alone never publishes; one by descriptor does.
func (d *draft) truncate(size int64, byOpen bool, limit int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return errGone
	}
	if size > limit {
		return fmt.Errorf("%d bytes, at most %d: %w", size, limit, registry.ErrTooLarge)
	}
	if size == 0 {
		d.buf, d.load = nil, nil
	} else if err := d.ensure(); err != nil {
		return err
	}
	d.resize(size)
	if size == 0 && !d.written {
		d.cut = true
	}
	d.start0, d.appends = 0, false
	d.json, d.judged, d.checked = nil, size != 0, 0
	if byOpen {
		d.modified = now()
		return nil
	}
	d.changed()
	return nil
}

// resize sets the buffer's length, with zeros where it grows. d.mu is held.
func (d *draft) resize(size int64) {
	if size <= int64(cap(d.buf)) {
		old := len(d.buf)
		d.buf = d.buf[:size]
		if int(size) > old {
			clear(d.buf[old:])
		}
		return
	}
	grown := make([]byte, size, max(size, int64(2*cap(d.buf)), blockSize))
	copy(grown, d.buf)
	d.buf = grown
}

// fail drops the draft's bytes, so that no part of what was refused is ever published. d.mu is held.
func (d *draft) fail(err error) error {
	d.failed, d.dirty, d.buf, d.load = err, false, nil, nil
	if d.decides() {
		d.failed = nil // the next line is another decision: nothing is missing in it
	}
	return err
}

// changed notes that there is something to publish. d.mu is held.
func (d *draft) changed() {
	d.dirty = true
	d.edits++
	d.modified = now()
}

// attempt is what a draft was when a publication of it began.
type attempt struct {
	edits, size int
	rebased     bool // its bytes were put behind those of others since
}

// published has the draft go on from the version e that was made of it, with these bytes. What was changed meanwhile is still to
// be published. d.mu is held.
func (d *draft) published(e disk.Entry, body []byte, a attempt) {
	switch {
	case d.edits == a.edits:
		d.base, d.buf, d.dirty = e, body, false
	case d.appends:
		d.base, d.buf = e, append(body, d.buf[a.size:]...)
	case !a.rebased:
		d.base = e
		return
	default:
		return // it has changed what was there without the bytes of others: that race is lost
	}
	d.start0 = int64(len(body))
}

// release drops one descriptor of the draft; last says that it was the last one.
func (f *FS) release(d *draft) (last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.handles--
	if d.handles > 0 {
		return false
	}
	if !d.scratch || f.scratch[d.file] != d {
		delete(f.drafts, d.node)
	}
	return true
}

// dropUnopened forgets a draft that was looked up and never opened. f.mu is held.
func (f *FS) dropUnopened(d *draft) {
	if d != nil && d.handles == 0 && !d.scratch {
		delete(f.drafts, d.node)
	}
}
