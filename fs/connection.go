package fs

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/sync/disk"
)

// connection reads the kernel's requests and writes the answers. One goroutine leads: it reads, and answers what takes no time by
// itself, so that opening and closing a cached file wakes one thread and no more. (BenchmarkOpen in integration/bench: with
// go-fuse's own loop, whose readers take turns, the threads woken for nothing cost half as much again.) Before anything that may
// take time it hands the lead to another goroutine.
type connection struct {
	fd     int
	f      *FS
	kernel *fuse.ProtocolServer
	log    *slog.Logger
	ended  chan struct{} // closed when the tree is unmounted
	busy   sync.WaitGroup

	mu        sync.Mutex
	answering *sync.WaitGroup // of the requests that may take time

	resends bool // the kernel gives the next server what this one leaves unanswered
}

const (
	// A request is a header, up to maxWrite bytes, and a name or two.
	requestSize = maxWrite + 4096
	replySize   = maxWrite + 4096
	// warmSize is how much of a buffer is touched before the kernel is asked to fill it. Were a server killed while the kernel copies a
	// request to a page that is not there yet, the kernel would answer the request with EIO instead of keeping it (package keeper
	// measured it). Longer requests are writes, whose drafts die with the server anyway.
	warmSize = 64 << 10
	// quickHash is the largest body that is checked by the goroutine that leads, in bytes.
	quickHash = 64 << 10
)

// buffers are what one goroutine reads into and answers from. Only the pages that are used take memory.
type buffers struct{ request, reply []byte }

var bufferPool = sync.Pool{New: func() any {
	b := &buffers{make([]byte, requestSize), make([]byte, replySize)}
	for i := 0; i < warmSize; i += blockSize {
		b.request[i] = 0
	}
	return b
}}

// lead reads until it comes to a request that may take time, or to the end.
func (c *connection) lead() {
	b := bufferPool.Get().(*buffers)
	defer bufferPool.Put(b)
	for {
		n, err := unix.Read(c.fd, b.request)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // ENOENT: taken back
			continue
		case err != nil:
			if !errors.Is(err, unix.ENODEV) {
				c.log.Error("read from the kernel", "err", err)
			}
			close(c.ended)
			return
		}
		if c.quick(b.request[:n]) {
			c.answer(b.request[:n], b.reply)
			continue
		}
		c.busy.Go(c.lead)
		c.mu.Lock()
		answering := c.answering
		answering.Add(1)
		c.mu.Unlock()
		defer answering.Done()
		c.answer(b.request[:n], b.reply)
		return
	}
}

// answered waits, for a while, until the requests are answered that have been read so far.
func (c *connection) answered(patience time.Duration) {
	c.mu.Lock()
	begun := c.answering
	c.answering = &sync.WaitGroup{}
	c.mu.Unlock()
	over := make(chan struct{})
	c.busy.Go(func() {
		begun.Wait()
		close(over)
	})
	select {
	case <-over:
	case <-time.After(patience):
	}
}

// answer has one request handled and writes the reply, if it has one.
func (c *connection) answer(request, reply []byte) {
	if c.resends && beginsDraft(request) && !c.f.isPoker(header(request)) {
		c.f.gate.RLock()
		defer c.f.gate.RUnlock()
		if c.f.leaving {
			return // the next server is given it
		}
	}
	if observe := c.f.o.Observe; observe != nil && len(request) >= int(unsafe.Sizeof(fuse.InHeader{})) {
		defer func(opcode uint32, began time.Time) { observe(opcode, time.Since(began)) }(header(request).Opcode, time.Now())
	}
	n, status := c.kernel.HandleRequest([][]byte{request}, [][]byte{reply})
	if !status.Ok() { // not understood: an unanswered caller would wait for ever
		n = refuseRequest(request, reply, syscall.Errno(status))
	}
	if out := (*fuse.OutHeader)(unsafe.Pointer(&reply[0])); n >= int(unsafe.Sizeof(*out)) && out.Status == -unanswered {
		if c.resends {
			return // the next server is given it
		}
		out.Status = -int32(syscall.EINTR)
	}
	if n == 0 {
		return // FORGET and INTERRUPT want no answer
	}
	// ENOENT: the caller was interrupted, and does not wait any more. ENODEV: unmounted.
	if _, err := unix.Write(c.fd, reply[:n]); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		c.log.Error("answer the kernel", "request", header(request), "err", err)
	}
}

func refuseRequest(request, reply []byte, errno syscall.Errno) int {
	if len(request) < int(unsafe.Sizeof(fuse.InHeader{})) {
		return 0
	}
	out := (*fuse.OutHeader)(unsafe.Pointer(&reply[0]))
	*out = fuse.OutHeader{Length: uint32(unsafe.Sizeof(*out)), Status: -int32(errno), Unique: header(request).Unique}
	return int(out.Length)
}

func header(request []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&request[0])) }

// The opcodes that are told apart here, from linux/fuse.h.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opReadlink    = 5
	opSymlink     = 6
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opReleasedir  = 29
	opCreate      = 35
	opInterrupt   = 36
	opBatchForget = 42
)

// beginsDraft says whether somebody opens a file to write it.
func beginsDraft(request []byte) bool {
	if len(request) < int(unsafe.Sizeof(fuse.OpenIn{})) {
		return false
	}
	switch header(request).Opcode {
	case opCreate:
		return true
	case opOpen:
		return (*fuse.OpenIn)(unsafe.Pointer(&request[0])).Flags&syscall.O_ACCMODE != syscall.O_RDONLY
	}
	return false
}

// quick says whether a request is answered from memory.
func (c *connection) quick(request []byte) bool {
	if len(request) < int(unsafe.Sizeof(fuse.InHeader{})) {
		return true
	}
	h := header(request)
	if classify(h.NodeId) == hiddenClass && h.Opcode != opForget {
		return false
	}
	if c.f.isPoker(h) && (h.Opcode == opSymlink || h.Opcode == opCreate || h.Opcode == opOpen || h.Opcode == opSetattr) {
		return true // it acts out what is there already
	}
	switch h.Opcode {
	case opForget, opBatchForget, opInterrupt, opRelease, opReleasedir, opReadlink:
		return true
	case opGetattr:
		_, dir := fixedDirs[h.NodeId]
		return dir || classify(h.NodeId) != fixedClass // a status file is made when it is looked at
	case opRead:
		return h.NodeId == c.f.alive
	case opLookup:
		return h.NodeId != statusNode && !c.f.deferring.Load()
	case opOpen:
		in := (*fuse.OpenIn)(unsafe.Pointer(&request[0]))
		if len(request) < int(unsafe.Sizeof(*in)) || in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
			return false
		}
		return h.NodeId == c.f.alive || classify(h.NodeId) == versionClass && c.f.bodies.quick(disk.Stamp(h.NodeId))
	}
	return false
}
