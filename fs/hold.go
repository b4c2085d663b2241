package fs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// hold is a file of .register that somebody has open for writing. holds.mu guards all of it but what never changes: node, names,
// registration and caller.
type hold struct {
	Node     uint64            `json:"node"`
	Name     registry.Name     `json:"name"`
	Endpoint registry.Endpoint `json:"endpoint"`
	File     string            `json:"file"`    // the name as it was typed
	Handles  []uint64          `json:"handles"` // one a descriptor
	Data     []byte            `json:"data"`    // the last complete value that was written
	Skipped  uint64            `json:"skipped"` // where Written begins for those who have the file open: what was before it is forgotten
	Written  []byte            `json:"written"` // what the file holds

	registration Registration // nil: it is not wanted any more
	caller       caller
	created      time.Time
	doubted      bool // a server before this one made it, and the kernel was not asked yet
	strikes      int  // how often in a row the kernel knew nothing of it
}

// maxHoldData bounds what may be written to one, in bytes.
const maxHoldData = 8 << 10

// holds are all of them.
type holds struct {
	saving sync.Mutex // held across the write of their file; taken before mu

	mu     sync.Mutex
	byNode map[uint64]*hold
	coming map[redirectKey]*comer
	dirs   map[uint64]registry.Name // of serversets that are not followed here, by node id
}

// comer is a thread that was told ESTALE, and the hold that it will have.
type comer struct {
	hold    *hold
	expires time.Time
	looked  bool
}

func newHolds() *holds {
	return &holds{byNode: map[uint64]*hold{}, coming: map[redirectKey]*comer{}, dirs: map[uint64]registry.Name{}}
}

func (s *holds) add(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byNode[h.Node] = h
}

func (s *holds) get(node uint64) (*hold, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.byNode[node]
	return h, ok
}

// all holds, in the order of their endpoints and then of their nodes.
func (s *holds) all() []*hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*hold
	for _, h := range s.byNode {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *hold) int {
		return bytes.Compare(fmt.Append(nil, a.Endpoint, " ", a.Node), fmt.Append(nil, b.Endpoint, " ", b.Node))
	})
	return all
}

// find is the first of the holds of an endpoint.
func (s *holds) find(name registry.Name, e registry.Endpoint) (node uint64, ok bool) {
	for _, h := range s.all() {
		if h.Name == name && h.Endpoint == e {
			return h.Node, true
		}
	}
	return 0, false
}

// any says whether a serverset is held.
func (s *holds) any(name registry.Name) bool {
	return slices.ContainsFunc(s.all(), func(h *hold) bool { return h.Name == name })
}

// share gives a hold one more descriptor.
func (s *holds) share(h *hold, fh uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Handles = append(h.Handles, fh)
}

// release takes a descriptor from a hold, and says whether it was the last. nil: it was none of a hold.
func (s *holds) release(node, fh uint64) (h *hold, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h = s.byNode[node]
	if h == nil {
		return nil, false
	}
	i := slices.Index(h.Handles, fh)
	if i < 0 {
		return nil, false
	}
	h.Handles = slices.Delete(h.Handles, i, i+1)
	if len(h.Handles) > 0 {
		return h, false
	}
	delete(s.byNode, node)
	return h, true
}

// expect has a thread come back to a hold of its own; false if it was told so just now and has come without looking the name up.
func (s *holds) expect(k redirectKey, h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, c := range s.coming {
		if now().After(c.expires) {
			delete(s.coming, other)
		}
	}
	if c := s.coming[k]; c != nil && !c.looked {
		delete(s.coming, k)
		return false
	}
	s.coming[k] = &comer{hold: h, expires: now().Add(redirectTime)}
	return true
}

// arrive is the inode to which the lookup of a thread that was told ESTALE leads.
func (s *holds) arrive(k redirectKey) (node uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.coming[k]
	if c == nil || now().After(c.expires) {
		return 0, false
	}
	c.looked = true
	return c.hold.Node, true
}

// come is the hold that is to be made by the open of a node that arrive gave out.
func (s *holds) come(node uint64) (*hold, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, c := range s.coming {
		if c.hold.Node == node {
			delete(s.coming, k)
			return c.hold, true
		}
	}
	return nil, false
}

// pending says whether a node is that of a hold that comes.
func (s *holds) pending(node uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.coming {
		if c.hold.Node == node {
			return true
		}
	}
	return false
}

func (s *holds) content(h *hold) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(h.Written)
}

// maxRegisterDirs bounds how many directories of serversets that are not followed here are remembered.
const maxRegisterDirs = 1024

func (s *holds) rememberDir(node uint64, name registry.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	makeRoom(s.dirs, maxRegisterDirs)
	s.dirs[node] = name
}

func (s *holds) dir(node uint64) (registry.Name, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.dirs[node]; ok {
		return name, true
	}
	for _, h := range s.byNode {
		if hiddenID(registerDirKind, string(h.Name)) == node {
			return h.Name, true
		}
	}
	return "", false
}

// lastValue is the last complete JSON value in what was written, and whether an incomplete one follows. ErrInvalid if it cannot be
// continued to JSON.
func lastValue(written []byte) (value []byte, incomplete bool, err error) {
	d := json.NewDecoder(bytes.NewReader(written))
	for {
		var raw json.RawMessage
		err := d.Decode(&raw)
		switch {
		case err == nil:
			value = raw
		case errors.Is(err, io.EOF):
			return value, false, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return value, true, nil
		default:
			return nil, false, fmt.Errorf("not JSON: %w: %w", err, registry.ErrInvalid)
		}
	}
}

// place is where bytes are to be put into what a file of .register holds. A program may say something new every second for years, by one
// descriptor: what lies behind the end follows on it, and when it becomes too much all but the last value is forgotten.
func (s *holds) place(h *hold, offset uint64, size int, appends bool) (written []byte, skipped uint64, at int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written, skipped = bytes.Clone(h.Written), h.Skipped
	end := uint64(len(written))
	switch {
	case appends:
		at = len(written)
	case offset < skipped:
		skipped, at = 0, int(min(offset, end))
	case offset-skipped >= end:
		skipped, at = offset-end, len(written)
	default:
		at = int(offset - skipped)
	}
	if at+size > maxHoldData && at == len(written) {
		if _, incomplete, _ := lastValue(written); !incomplete {
			skipped += end - uint64(len(h.Data))
			written, at = bytes.Clone(h.Data), len(h.Data)
		}
	}
	if at+size > maxHoldData {
		err = fmt.Errorf("%s: %d bytes, at most %d: %w", h.Endpoint, at+size, maxHoldData, registry.ErrTooLarge)
	}
	return written, skipped, at, err
}

// writeHold takes what a holder says of itself. It counts as soon as it is complete, since shells report the errors of a write only.
func (f *FS) writeHold(in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h, ok := f.holds.get(in.NodeId)
	if !ok {
		return 0, fuse.EIO
	}
	written, skipped, at, err := f.holds.place(h, in.Offset, len(data), in.Flags&syscall.O_APPEND != 0)
	if err != nil {
		return 0, f.refuse(registerPath(h.Name), f.caller(&in.InHeader), err)
	}
	written = append(written[:at], append(bytes.Clone(data), written[min(at+len(data), len(written)):]...)...)
	if err := f.tellHold(h, written, skipped); err != nil {
		return 0, f.refuse(registerPath(h.Name), f.caller(&in.InHeader), fmt.Errorf("%s: %w", h.Endpoint, err))
	}
	return uint32(len(data)), fuse.OK
}

// tellHold makes bytes what a file of .register holds, and passes on what they say. With an error nothing has changed.
func (f *FS) tellHold(h *hold, written []byte, skipped uint64) error {
	value, _, err := lastValue(written)
	if err != nil {
		return err
	}
	f.holds.mu.Lock()
	told := bytes.Equal(value, h.Data)
	f.holds.mu.Unlock()
	if !told && value != nil && h.registration != nil {
		if err := h.registration.Set(value); err != nil {
			return err
		}
	}
	f.holds.mu.Lock()
	h.Written, h.Skipped = written, skipped
	if value != nil {
		h.Data = value
	}
	f.holds.mu.Unlock()
	f.saveHolds()
	return nil
}

// cutHold sets the length of what a file of .register holds. What it said before counts until it says something else.
func (f *FS) cutHold(node, size uint64) fuse.Status {
	h, ok := f.holds.get(node)
	if !ok {
		return fuse.OK // opened with O_TRUNC, and then not
	}
	f.holds.mu.Lock()
	defer f.holds.mu.Unlock()
	if size > uint64(len(h.Written)) {
		return fuse.EINVAL
	}
	h.Written = h.Written[:size]
	return fuse.OK
}

// syncHold waits until the endpoint is registered, for as long as that takes.
func (f *FS) syncHold(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h, ok := f.holds.get(in.NodeId)
	if !ok {
		return fuse.EIO
	}
	if _, incomplete, _ := lastValue(f.holds.content(h)); incomplete {
		err := fmt.Errorf("%s: what was written is not complete: %w", h.Endpoint, registry.ErrInvalid)
		return f.refuse(registerPath(h.Name), f.caller(&in.InHeader), err)
	}
	if h.registration == nil {
		return fuse.EIO
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	f.background.Go(func() { done <- h.registration.Wait(ctx) })
	err := f.outlast(cancel, in.Pid, done, f.ending)
	if file := (disk.File{Kind: registry.Serverset, Name: string(h.Name)}); err == nil && !f.announced(file) {
		f.swap(file)
	}
	if err == nil || errors.Is(err, errLeft) || errors.Is(err, errKilled) {
		return asked(err)
	}
	return f.refuse(registerPath(h.Name), h.caller, fmt.Errorf("%s: %w", h.Endpoint, err))
}
