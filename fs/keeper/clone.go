package keeper

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Before Linux 6.9 the kernel cannot deliver a request once more, and one that a server took with it would never end. There
// each server reads from a descriptor of its own, cloned from the one that the keeper holds: when that is closed, by whatever
// death, the kernel ends the requests that were read through it with ECONNABORTED. Those that nobody had read wait for the next
// server as they do elsewhere. A program that opens a file then sees one error where it would have waited for ever.

const (
	cloneDevice = 0x8004e500 // FUSE_DEV_IOC_CLONE of linux/fuse.h

	// FUSE_HAS_RESEND, as a bit of the second word of flags in the reply to INIT, and where that word is.
	hasResend  = 1 << (39 - 32)
	replyFlags = 16 + 32
)

// resends says whether this reply to INIT has the kernel deliver requests once more when asked.
func resends(reply []byte) bool {
	return len(reply) >= replyFlags+4 && binary.NativeEndian.Uint32(reply[replyFlags:])&hasResend != 0
}

// ownQueue puts a clone in the place of FUSE, under the same number, unless the kernel resends.
func (a *Attachment) ownQueue(reply []byte) error {
	if resends(reply) {
		return nil
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s once more: %w", device, err)
	}
	defer unix.Close(fd)
	shared := int(a.FUSE.Fd())
	if err := unix.IoctlSetPointerInt(fd, cloneDevice, shared); err != nil {
		return fmt.Errorf("clone the connection to the kernel: %w", err)
	}
	if err := unix.Dup3(fd, shared, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("take the cloned connection: %w", err)
	}
	return nil
}
