package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// The exit codes. Scripts branch on them: a number is never given another meaning.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitNoName      = 4
	exitLostRace    = 5
	exitUnreachable = 6
	exitNoRight     = 7
	exitUnknown     = 8
)

// exits says what each code means, for help and for the page of commands.
var exits = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed, or the answer is no"},
	{exitUsage, "wrong usage, or a mistake in the configuration of the monitor"},
	{exitRefused, "refused: invalid, too large, already there, or held back by a guard"},
	{exitNoName, "no such name"},
	{exitLostRace, "lost the race: somebody else published first"},
	{exitUnreachable, "cannot reach the monitor or the registry, or timed out"},
	{exitNoRight, "no right to do this"},
	{exitUnknown, "outcome unknown: it may have happened"},
}

// failures is the one table between an error, the errno by which the mount says it, the word and status by which the control
// socket says it, and the exit code. The first row that matches an error counts, so an unknown outcome comes before whatever made
// it so.
var failures = []struct {
	err     error
	errno   syscall.Errno
	kind    string
	status  int
	code    int
	inMount bool // the mount says it, so the page of commands shows it
	silent  bool // its own words add nothing behind those of an error that wraps it
}{
	{errInterrupted, syscall.EINTR, "interrupted", http.StatusRequestTimeout, exitFailed, true, true},
	{registry.ErrUnknown, syscall.EIO, "unknown", http.StatusInternalServerError, exitUnknown, true, false},
	{registry.ErrTooLarge, syscall.EFBIG, "too_large", http.StatusRequestEntityTooLarge, exitRefused, true, false},
	{registry.ErrNotExist, syscall.ENOENT, "not_exist", http.StatusNotFound, exitNoName, true, false},
	{registry.ErrConflict, syscall.ESTALE, "conflict", http.StatusConflict, exitLostRace, true, false},
	{registry.ErrUnreachable, syscall.EHOSTUNREACH, "unreachable", http.StatusServiceUnavailable, exitUnreachable, true, true},
	{registry.ErrTimeout, syscall.ETIMEDOUT, "timeout", http.StatusGatewayTimeout, exitUnreachable, true, false},
	{registry.ErrReadOnly, syscall.EROFS, "read_only", http.StatusForbidden, exitNoRight, true, false},
	{registry.ErrPermission, syscall.EACCES, "permission", http.StatusForbidden, exitNoRight, true, false},
	{registry.ErrExist, syscall.EEXIST, "exist", http.StatusConflict, exitRefused, true, true},
	{registry.ErrNotEmpty, syscall.ENOTEMPTY, "not_empty", http.StatusConflict, exitRefused, true, false},
	{registry.ErrInvalid, syscall.EINVAL, "invalid", http.StatusUnprocessableEntity, exitRefused, true, true},
	{errGuard, syscall.EPERM, "refused", http.StatusForbidden, exitRefused, true, true},
	{registry.ErrQuota, syscall.EDQUOT, "quota", http.StatusTooManyRequests, exitRefused, true, false},
	{context.DeadlineExceeded, syscall.ETIME, "timeout", http.StatusGatewayTimeout, exitUnreachable, false, false},
	{errNoAnswer, syscall.ECONNREFUSED, "unreachable", http.StatusServiceUnavailable, exitUnreachable, false, false},
	{errDeadMount, syscall.ENOTCONN, "unreachable", http.StatusServiceUnavailable, exitUnreachable, false, false},
	{errAborted, syscall.ECONNABORTED, "unreachable", http.StatusServiceUnavailable, exitUnreachable, false, false},
}

// Failures that only the mount or a socket can name.
var (
	errGuard     = errors.New("refused")
	errNoAnswer  = errors.New("nobody answers")
	errDeadMount = errors.New("the mount is dead: nobody serves it")
	errAborted   = errors.New("the monitor died meanwhile")
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func wrongUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitStatus is an outcome that has been said already, in data: status of a machine that is not ready.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// hinted adds what to do next, one line each, to an error.
type hinted struct {
	error
	hints []string
}

func (h hinted) Unwrap() error { return h.error }

func hint(err error, lines ...string) error { return hinted{err, lines} }

// exitCode of a command that ended in err.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if c, ok := errors.AsType[coded](err); ok {
		return c.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	for _, f := range failures {
		if errors.Is(err, f.err) || errors.Is(err, f.errno) {
			return f.code
		}
	}
	return exitFailed
}

// fromErrno replaces the errno in err, if the mount has a meaning for it, by what it means.
func fromErrno(err error) error {
	for _, f := range failures {
		if errors.Is(err, f.errno) {
			return f.err
		}
	}
	return err
}

// errnoName is EINVAL for EINVAL.
func errnoName(errno syscall.Errno) string { return unix.ErrnoName(errno) }
