package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"runtime/debug"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs/keeper"
)

const (
	maxWrite      = 1 << 20
	maxBackground = 128 // RELEASE is a background request, and one may wait for a publication
	initBuffer    = 64 << 10

	// capHasResend tells the kernel that a new server will ask for the requests that the last one left unanswered
	// (FUSE_HAS_RESEND, Linux 6.9).
	capHasResend = 1 << 39
)

// ErrNegotiation says that this binary would answer the kernel's INIT in another way than the server that mounted.
var ErrNegotiation = errors.New("this version negotiates the FUSE connection differently from the one that mounted")

// Serve answers the kernel until the tree is unmounted or ctx ends. It returns when its publications are over.
func (f *FS) Serve(ctx context.Context, a *keeper.Attachment) error {
	f.mount, f.poker, f.incarnation, f.started = a.Mount, a.Poker(), uint64(a.Incarnation), time.Now()
	server, err := f.takeOver(a)
	if err != nil {
		return fmt.Errorf("take over %s: %w", a.Mount, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan struct{})
	go func() { // not joined when ctx ends first: its readers sit in the kernel until the process is gone
		defer close(served)
		server.Serve()
	}()
	if err := a.Ready(); err != nil {
		return err
	}
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		f.announce(ctx)
	}()
	select {
	case <-served:
	case <-ctx.Done():
	}
	cancel()
	<-announced
	f.background.Wait()
	return nil
}

// takeOver connects go-fuse to the descriptor that the keeper holds. go-fuse insists on answering INIT itself, so it is shown the
// kernel's request through a socket: the first server passes its answer on to the kernel and saves both, a later one is shown the
// saved request, and its answer must be the same. Then the socket's number is given the descriptor.
func (f *FS) takeOver(a *keeper.Attachment) (*fuse.Server, error) {
	request := a.Init
	if request == nil {
		buf := make([]byte, initBuffer)
		n, err := retry(func() (int, error) { return unix.Read(int(a.FUSE.Fd()), buf) })
		if err != nil {
			return nil, fmt.Errorf("read INIT: %w", err)
		}
		request = buf[:n]
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[1])
	if _, err := unix.Write(pair[1], request); err != nil {
		return nil, fmt.Errorf("hand over INIT: %w", err)
	}
	server, err := fuse.NewServer(f, fmt.Sprintf("/dev/fd/%d", pair[0]), f.mountOptions())
	if err != nil {
		return nil, err
	}
	reply := make([]byte, initBuffer)
	n, err := unix.Read(pair[1], reply)
	if err != nil {
		return nil, fmt.Errorf("read the answer to INIT: %w", err)
	}
	reply = reply[:n]
	if a.Init == nil {
		if _, err := unix.Write(int(a.FUSE.Fd()), reply); err != nil {
			return nil, fmt.Errorf("answer INIT: %w", err)
		}
		if err := a.SaveInit(request, reply); err != nil {
			return nil, err
		}
	} else if !bytes.Equal(reply, a.InitReply) {
		return nil, ErrNegotiation
	}
	if err := unix.Dup3(int(a.FUSE.Fd()), pair[0], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("dup3: %w", err)
	}
	if a.Init != nil {
		if err := a.Resend(); err != nil && !errors.Is(err, unix.EINVAL) {
			return nil, err
		}
	}
	return server, nil
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
