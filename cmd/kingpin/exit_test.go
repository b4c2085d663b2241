package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// TestExitCodes holds the table that scripts rely on.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("anything else"), 1},
		{wrongUsage("no such flag"), 2},
		{syscall.EINVAL, 3},
		{syscall.EFBIG, 3},
		{syscall.EPERM, 3},
		{syscall.EEXIST, 3},
		{syscall.ENOTEMPTY, 3},
		{syscall.EDQUOT, 3},
		{registry.ErrInvalid, 3},
		{registry.ErrTooLarge, 3},
		{registry.ErrExist, 3},
		{registry.ErrNotEmpty, 3},
		{syscall.ENOENT, 4},
		{registry.ErrNotExist, 4},
		{syscall.ESTALE, 5},
		{registry.ErrConflict, 5},
		{syscall.EHOSTUNREACH, 6},
		{syscall.ETIMEDOUT, 6},
		{syscall.ENOTCONN, 6},
		{syscall.ECONNREFUSED, 6},
		{registry.ErrUnreachable, 6},
		{registry.ErrTimeout, 6},
		{context.DeadlineExceeded, 6},
		{syscall.EACCES, 7},
		{syscall.EROFS, 7},
		{registry.ErrPermission, 7},
		{registry.ErrReadOnly, 7},
		{syscall.EIO, 8},
		{registry.ErrUnknown, 8},
		{syscall.EBUSY, 1},
	} {
		wrapped := hint(fmt.Errorf("put x: %w", c.err), "do this")
		if c.err == nil {
			wrapped = nil
		}
		if got := exitCode(wrapped); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
		path := fmt.Errorf("put x: %w", fromErrno(&os.PathError{Op: "open", Path: "x", Err: c.err}))
		if _, errno := c.err.(syscall.Errno); errno && exitCode(path) != c.code {
			t.Errorf("%v, as a file says it: exit code %d, want %d", c.err, exitCode(path), c.code)
		}
	}
}

// TestASocketAnswersLikeTheMount: an error means the same after it went through the control socket.
func TestASocketAnswersLikeTheMount(t *testing.T) {
	for _, f := range failures {
		back := parseAPIError(f.status, fmt.Appendf(nil, `{"kind": %q, "message": "in words", "hints": ["do this"]}`, f.kind))
		if exitCode(back) != f.code {
			t.Errorf("%v comes back as %v", f.err, back)
		}
		var said bytes.Buffer
		(&invocation{stderr: &said}).report(back)
		if said.String() != "kingpin: in words\n  do this\n" {
			t.Errorf("%v is said as %q", f.err, said.String())
		}
	}
	if err := parseAPIError(500, []byte("<html>")); exitCode(err) != 1 {
		t.Errorf("an answer that is no JSON: %v", err)
	}
}

// TestWhatIsSaidIsSaidOnce: the sentinel at the end of an error is left out where its words say nothing more.
func TestWhatIsSaidIsSaidOnce(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("web.dep exists: %w", registry.ErrExist), "web.dep exists"},
		{fmt.Errorf("no such name: x: %w", registry.ErrNotExist), "no such name: x"},
		{fmt.Errorf("x is gone: %w", registry.ErrNotExist), "x is gone: no such name"},
		{fmt.Errorf("ZooKeeper: unreachable: refused: %w", context.DeadlineExceeded), "ZooKeeper: unreachable: refused"},
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), "ask: context deadline exceeded"},
	} {
		if got := words(c.err); got != c.want {
			t.Errorf("%v is said as %q", c.err, got)
		}
	}
}
