package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs/keeper"
)

const (
	maxWrite      = 1 << 20
	maxBackground = 128 // RELEASE is a background request, and one may wait for a publication

	// capHasResend tells the kernel that a new server will ask for the requests that the last one left unanswered
	// (FUSE_HAS_RESEND, Linux 6.9).
	capHasResend = 1 << 39
)

// ErrNegotiation says that this binary would answer the kernel's INIT in another way than the server that mounted.
var ErrNegotiation = errors.New("this version negotiates the FUSE connection differently from the one that mounted")

// Serve answers the kernel until the tree is unmounted or ctx ends. It returns when its publications are over.
func (f *FS) Serve(ctx context.Context, a *keeper.Attachment) error {
	f.mount, f.poker, f.incarnation, f.started = a.Mount, a.Poker(), uint64(a.Incarnation), time.Now()
	f.resumeHolds(a)
	c, err := f.takeOver(a)
	if err != nil {
		return fmt.Errorf("take over %s: %w", a.Mount, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.busy.Go(c.lead) // not joined when ctx ends first: it sits in the kernel until the process is gone
	if err := a.Ready(); err != nil {
		return err
	}
	f.background.Go(func() { f.watchHolds(ctx) })
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		f.announce(ctx)
	}()
	select {
	case <-c.ended:
		c.busy.Wait()
	case <-a.Quiesce():
		f.finish()
	case <-ctx.Done():
	}
	close(f.ending)
	cancel()
	<-announced
	f.background.Wait()
	select {
	case <-a.Quiesce():
		c.answered(lastWords)
	default:
	}
	return nil
}

const (
	// finishTime is how long a server that is to make room waits for the writers that have a file open.
	finishTime = 2 * time.Second
	// lastWords bounds the time until the answers to those who waited for a publication are on their way. The next server would tell them
	// that it does not know of it.
	lastWords = 2 * time.Second
)

// finish waits until nobody has a draft open, for a while: its bytes would be lost with this server. From that moment on nobody
// begins one: who comes to write waits for the next server.
func (f *FS) finish() {
	for range finishTime / cancelPoll { // of the time in which this process runs
		if f.left() {
			return
		}
		<-time.After(cancelPoll)
	}
}

func (f *FS) left() bool {
	if !f.gate.TryLock() { // somebody is just opening; to wait for him here would keep the others out
		return false
	}
	defer f.gate.Unlock()
	f.leaving = f.leaving || !f.drafting()
	return f.leaving
}

func (f *FS) drafting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.drafts {
		if d.handles > 0 {
			return true
		}
	}
	return false
}

// Negotiate finds out whether a file system with these options would answer the kernel's INIT as the server did that mounted. It comes
// before anything that a server still at work has a lock on; ErrNegotiation: it would not.
func Negotiate(a *keeper.Attachment, o Options) error {
	if a.Init == nil {
		return nil
	}
	f := New(nil, o)
	reply, err := answerInit(fuse.NewProtocolServer(f, f.mountOptions()), a.Init)
	if err != nil {
		return err
	}
	if !bytes.Equal(reply, a.InitReply) {
		return ErrNegotiation
	}
	return nil
}

func answerInit(kernel *fuse.ProtocolServer, request []byte) ([]byte, error) {
	reply := make([]byte, replySize)
	n, status := kernel.HandleRequest([][]byte{request}, [][]byte{reply})
	if !status.Ok() {
		return nil, fmt.Errorf("INIT: %w", syscall.Errno(status))
	}
	return reply[:n], nil
}

// resends says whether this reply to INIT has the kernel deliver once more what a server leaves unanswered.
func resends(reply []byte) bool {
	const header = unsafe.Sizeof(fuse.OutHeader{})
	if uintptr(len(reply)) < header+unsafe.Sizeof(fuse.InitOut{}) {
		return false
	}
	return (*fuse.InitOut)(unsafe.Pointer(&reply[header])).Flags2&(capHasResend>>32) != 0
}

// takeOver connects go-fuse to the descriptor that the keeper holds. The first server answers the kernel's INIT and saves it with the
// answer; a later one has go-fuse answer the saved request, to bring both into the same state, and that answer must be the same.
func (f *FS) takeOver(a *keeper.Attachment) (*connection, error) {
	c := &connection{
		fd:     int(a.FUSE.Fd()),
		f:      f,
		kernel: fuse.NewProtocolServer(f, f.mountOptions()),
		log:    f.log,
		ended:  make(chan struct{}),

		answering: &sync.WaitGroup{},
	}
	request := a.Init
	if request == nil {
		buf := make([]byte, requestSize)
		n, err := retry(func() (int, error) { return unix.Read(c.fd, buf) })
		if err != nil {
			return nil, fmt.Errorf("read INIT: %w", err)
		}
		request = buf[:n]
	}
	reply, err := answerInit(c.kernel, request)
	if err != nil {
		return nil, err
	}
	c.resends = resends(reply)
	if a.Init == nil {
		if _, err := unix.Write(c.fd, reply); err != nil {
			return nil, fmt.Errorf("answer INIT: %w", err)
		}
		return c, a.SaveInit(request, reply)
	}
	if !bytes.Equal(reply, a.InitReply) {
		return nil, ErrNegotiation
	}
	if err := a.Resend(); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	return c, nil
}

func (f *FS) mountOptions() *fuse.MountOptions {
	return &fuse.MountOptions{
		FsName:                   "kingpin",
		Name:                     "kingpin",
		MaxBackground:            maxBackground,
		MaxWrite:                 maxWrite,
		ExplicitDataCacheControl: true,
		IgnoreSecurityLabels:     true,
		ExtraCapabilities:        capHasResend,
		IDMappedMount:            f.o.ReadOnly, // it hides the writer's uid, so only where nobody writes
		Logger:                   log.New(io.Discard, "", 0),
		PanicHandler: func(p any) fuse.Status {
			// Dying of it would be no better: the kernel would send the same request to the next server.
			f.log.Error("panic in a request", "panic", p, "stack", string(debug.Stack()))
			return fuse.EIO
		},
	}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
