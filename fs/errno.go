package fs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// errnos is the kernel's view of our errors; the first match counts, so an unknown outcome comes before whatever made it so. EAGAIN and ENOSYS are not in it on purpose: Python turns the
// first into BlockingIOError, and the second makes the kernel switch the operation off for the whole mount.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{syscall.EINTR, syscall.EINTR}, // whatever came of it is in .error
	{registry.ErrUnknown, syscall.EIO},
	{registry.ErrConflict, syscall.ESTALE},
	{registry.ErrTooLarge, syscall.EFBIG},
	{registry.ErrInvalid, syscall.EINVAL},
	{registry.ErrNotExist, syscall.ENOENT},
	{registry.ErrExist, syscall.EEXIST},
	{registry.ErrNotEmpty, syscall.ENOTEMPTY},
	{registry.ErrPermission, syscall.EACCES},
	{registry.ErrReadOnly, syscall.EROFS},
	{registry.ErrUnreachable, syscall.EHOSTUNREACH},
	{registry.ErrTimeout, syscall.ETIMEDOUT},
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{syscall.ENOSPC, syscall.ENOSPC},
	{registry.ErrQuota, syscall.EDQUOT},
	{syscall.EPERM, syscall.EPERM},
}

// status is the errno for err; anything not in the table is EIO.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return fuse.Status(e.errno)
		}
	}
	return fuse.EIO
}
