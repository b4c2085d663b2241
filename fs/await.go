package fs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
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

// outcomeTime is how long who was interrupted waits to hear what came of it. Nearly always that is known at once: what is not past the
// point where it counts is given up.
const outcomeTime = time.Second

// interrupted is the answer to a thread that was interrupted while done was awaited: success if it was published in spite of that, else
// EINTR, and .error says whether it was.
func (f *FS) interrupted(path string, c caller, done <-chan error) fuse.Status {
	select {
	case err := <-done:
		if err == nil {
			return fuse.OK
		}
		return f.refuse(path, c, afterInterrupt(err))
	case <-time.After(f.pace.outcome):
	}
	st := f.refuse(path, c, fmt.Errorf("interrupted; whether it was published will be said here: %w", syscall.EINTR))
	f.background.Go(func() {
		err := <-done
		if err == nil {
			err = errors.New("interrupted, and published all the same")
		} else {
			err = afterInterrupt(err)
		}
		f.remember(path, c, err)
	})
	return st
}

// afterInterrupt is what came of something that was interrupted and failed with err.
func afterInterrupt(err error) error {
	outcome := "not published"
	if errors.Is(err, registry.ErrUnknown) {
		outcome = "it is not known whether it was published"
	}
	return fmt.Errorf("interrupted, and %s (%v): %w", outcome, err, syscall.EINTR)
}
