package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime/debug"
	"syscall"
	"time"

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
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		f.announce(ctx)
	}()
	select {
	case <-c.ended:
		c.busy.Wait()
	case <-ctx.Done():
	}
	cancel()
	<-announced
	f.background.Wait()
	return nil
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
	reply := make([]byte, replySize)
	n, status := c.kernel.HandleRequest([][]byte{request}, [][]byte{reply})
	if !status.Ok() {
		return nil, fmt.Errorf("INIT: %w", syscall.Errno(status))
	}
	reply = reply[:n]
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
