package main

import (
	"context"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// interruptible makes a gesture on a thread of its own and returns when it is over. When ctx ends, because somebody pressed Ctrl-C, the
// thread is signalled, since the signal itself has gone to some other one: the mount then gives up what it can still give up, and the
// gesture ends with what came of it.
func interruptible(ctx context.Context, gesture func()) {
	thread, done := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		gesture()
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	// Whatever the error: then there is nobody to interrupt, or he is waited for.
	_ = unix.Tgkill(os.Getpid(), <-thread, unix.SIGINT)
	<-done
}

// writeAll writes and syncs. An interruption ends it: the methods of os.File would begin again.
func writeAll(fd int, body []byte) error {
	for len(body) > 0 {
		n, err := unix.Write(fd, body)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		body = body[n:]
	}
	return unix.Fsync(fd)
}
