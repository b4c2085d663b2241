package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// The exit codes of a command that could not be started, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// exitSignalled is added to the number of the signal that ended a command, as shells do.
const exitSignalled = 128

// child is a command that a verb runs on somebody's behalf.
type child struct {
	argv []string
	env  []string      // all of it
	inv  *invocation   // whose stdout and stderr it has; stdin is empty
	stop time.Duration // what it is given to end after SIGTERM
}

// find says early that there is no such command.
func (c child) find() error {
	_, err := exec.LookPath(c.argv[0])
	return notStarted(err)
}

func notStarted(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return coded{err, exitNotFound}
	}
	return coded{err, exitCannotRun}
}

// run runs the command to its end and returns its status. When ctx is done, it and whatever it has started in its process group get
// SIGTERM, and SIGKILL if it does not end in time; should this process be killed, it gets SIGTERM too.
func (c child) run(ctx context.Context) (int, error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, c.inv.stdout, c.inv.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that has started it, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 0, notStarted(err)
	}
	signal := func(s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) } // it may have ended by itself
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		signal(syscall.SIGTERM)
		select {
		case err = <-ended:
		case <-time.After(c.stop):
			signal(syscall.SIGKILL)
			err = <-ended
		}
	}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return 0, fmt.Errorf("run %s: %w", c.argv[0], err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignalled + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
