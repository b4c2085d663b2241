package fs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// askTimeout bounds what a request may ask of the network.
const askTimeout = 10 * time.Second

// Why a request ends before what it waits for.
var (
	errKilled = fmt.Errorf("the caller is being killed: %w", syscall.EINTR)
	errLeft   = errors.New("the next server is given the request")
)

// unanswered is the status of a request that this server leaves to the next one. It is no errno: were it sent, the kernel would refuse it.
const unanswered = 512

// outlast waits for done on behalf of a thread that waits in a system call, until it is being killed, or this server ends. What it waits
// for goes on then.
func (f *FS) outlast(cancel <-chan struct{}, thread uint32, done <-chan error, ending <-chan struct{}) error {
	for {
		select {
		case err := <-done:
			return err
		case <-ending:
			return errLeft
		case <-cancel:
		}
		// Go programs interrupt their own system calls to preempt goroutines: only a deadly signal counts.
		if dying(thread) {
			return errKilled
		}
		select {
		case err := <-done:
			return err
		case <-ending:
			return errLeft
		case <-time.After(cancelPoll):
		}
	}
}

// ask does what may ask the network, for a thread that waits for it. It holds up nobody else: each request that may wait has a goroutine
// of its own. It may be interrupted, and ends after askTimeout.
func (f *FS) ask(cancel <-chan struct{}, thread uint32, work func(context.Context) error) error {
	ctx, stop := context.WithTimeout(context.Background(), askTimeout)
	defer stop()
	done := make(chan error, 1)
	f.background.Go(func() { done <- work(ctx) })
	return f.outlast(cancel, thread, done, f.ending)
}

// asked is the answer to a request after ask.
func asked(err error) fuse.Status {
	switch {
	case errors.Is(err, errLeft):
		return unanswered
	case errors.Is(err, errKilled):
		return fuse.EINTR
	}
	return status(err)
}
