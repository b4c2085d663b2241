package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	pokerFUSE   = 3
	pokerServer = 4
)

// Codes of the notifications: the error field of a header whose unique is 0 (linux/fuse.h, fuse_notify_code).
const (
	notifyInvalidateInode = 2
	notifyInvalidateEntry = 3
	notifyDelete          = 6
	notifyResend          = 7
)

// Poke is the whole life of the poker process: it does what the server asks until the server's side of the socket is
// closed. Call it from main, before anything else is started.
//
// It uses raw system calls only. An os.File on the mount would be given to the runtime's poller, and a fork or a working
// directory there could make this process wait for a request of its own.
func Poke() error {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		// The keeper knows this process by its first thread. Whoever calls exec becomes the first thread.
		return fmt.Errorf("exec the poker again: %w", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("poker leaves for /: %w", err)
	}
	welcomed := false
	buf := make([]byte, maxMessage)
	for {
		n, err := retry(func() (int, error) { return unix.Read(pokerServer, buf) })
		if err != nil {
			return fmt.Errorf("poker reads from the server: %w", err)
		}
		if n == 0 {
			return nil
		}
		if buf[0] == msgWelcome {
			welcomed = welcomed || string(buf[:n]) == string(welcome(uint32(unix.Getpid())))
			continue
		}
		if !welcomed {
			continue // meant for the poker before this one; the server knows that it is lost
		}
		id, ops, err := decode(buf[:n])
		if err != nil {
			return fmt.Errorf("poker reads from the server: %w", err)
		}
		results := make([]unix.Errno, len(ops))
		for i, op := range ops {
			results[i] = op.perform()
		}
		answer := encodeAnswer(id, results)
		if _, err := retry(func() (int, error) { return unix.Write(pokerServer, answer) }); err != nil {
			return fmt.Errorf("poker answers the server: %w", err)
		}
	}
}

// perform does one op and returns its errno, 0 for success.
func (op Op) perform() unix.Errno {
	var err error
	switch op.Kind {
	case InvalidateEntry:
		body := binary.NativeEndian.AppendUint64(nil, op.Parent)
		body = binary.NativeEndian.AppendUint32(body, uint32(len(op.Name)))
		body = binary.NativeEndian.AppendUint32(body, 0)
		err = notify(pokerFUSE, notifyInvalidateEntry, append(append(body, op.Name...), 0))
	case InvalidateInode:
		// Offset -1 spares the pages of a live inode, and that is wanted: a version's pages are right for ever, only
		// its attributes may be stale.
		body := binary.NativeEndian.AppendUint64(nil, op.Node)
		body = binary.NativeEndian.AppendUint64(body, ^uint64(0))
		err = notify(pokerFUSE, notifyInvalidateInode, binary.NativeEndian.AppendUint64(body, 0))
	case DeleteEntry:
		body := binary.NativeEndian.AppendUint64(nil, op.Parent)
		body = binary.NativeEndian.AppendUint64(body, op.Node)
		body = binary.NativeEndian.AppendUint32(body, uint32(len(op.Name)))
		body = binary.NativeEndian.AppendUint32(body, 0)
		err = notify(pokerFUSE, notifyDelete, append(append(body, op.Name...), 0))
	case Touch:
		err = touch(op.Path)
	case MakeFile:
		var fd int
		if fd, err = open(op.Path, unix.O_CREAT|unix.O_WRONLY); err == nil {
			err = unix.Close(fd)
		}
	case RemoveFile:
		_, err = retry(func() (int, error) { return 0, unix.Unlink(op.Path) })
	case MakeDir:
		_, err = retry(func() (int, error) { return 0, unix.Mkdir(op.Path, 0o755) })
	case RemoveDir:
		_, err = retry(func() (int, error) { return 0, unix.Rmdir(op.Path) })
	case MakeLink:
		_, err = retry(func() (int, error) { return 0, unix.Symlink(op.Name, op.Path) })
	default:
		err = unix.ENOSYS
	}
	if err == nil {
		return 0
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return unix.EIO
}

// touch makes the events of a new content: IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE, each once.
func touch(path string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	_, err = retry(func() (int, error) { return 0, unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH) })
	return errors.Join(err, unix.Close(fd))
}

func open(path string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644) })
}

// notify writes one notification: a header of length, code and unique 0, then the body.
func notify(fuse int, code uint32, body []byte) error {
	msg := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	msg = binary.NativeEndian.AppendUint32(msg, code)
	msg = binary.NativeEndian.AppendUint64(msg, 0)
	msg = append(msg, body...)
	_, err := retry(func() (int, error) { return unix.Write(fuse, msg) })
	return err
}

// retry repeats a call that a signal interrupted: the Go runtime sends itself SIGURG, and a request to a FUSE server ends
// with EINTR for it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
