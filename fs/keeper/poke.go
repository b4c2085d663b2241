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
	pokerKeeper = 5
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
// Its system calls on the mount are made by a thread that shares no descriptors with the others and has /dev/fuse closed.
// Should keeper and server be killed together with the poker while it waits in such a call, out of reach of signals, then
// the other threads close /dev/fuse as they die, the connection ends, and the call with it. Held open by the one who
// waits, it would never end.
//
// They are raw system calls: an os.File on the mount would be given to the runtime's poller, and a fork or a working
// directory there could make this process wait for a request of its own.
func Poke() error {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		// The keeper knows this process by its first thread. Whoever calls exec becomes the first thread.
		return fmt.Errorf("exec the poker again: %w", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	nameProcess()
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("poker leaves for /: %w", err)
	}
	h := hands{notify: make(chan [][]byte), notified: make(chan []unix.Errno)}
	go h.write()
	go answerProbes()
	go exitWithServer()
	if err := errors.Join(unix.Unshare(unix.CLONE_FILES), unix.Close(pokerFUSE)); err != nil {
		return fmt.Errorf("poker lets go of %s: %w", device, err)
	}
	buf := make([]byte, maxMessage)
	for welcomed := false; ; {
		var n int
		err := again(func() (err error) {
			n, err = unix.Read(pokerServer, buf)
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("poker reads from the server: %w", err)
		case n == 0, buf[0] == msgEnd:
			return nil
		case buf[0] == msgWelcome:
			welcomed = welcomed || string(buf[:n]) == string(welcome(uint32(unix.Getpid())))
			continue
		case !welcomed: // meant for the poker before this one; the server knows that it is lost
			continue
		}
		id, ops, err := decode(buf[:n])
		if err != nil {
			return fmt.Errorf("poker reads from the server: %w", err)
		}
		answer := encodeAnswer(id, h.perform(ops))
		err = again(func() error {
			_, err := unix.Write(pokerServer, answer)
			return err
		})
		if err != nil {
			return fmt.Errorf("poker answers the server: %w", err)
		}
	}
}

// hands are the poker's two working threads: the first, which may call into the mount, and the one that may write to
// /dev/fuse for it.
type hands struct {
	notify   chan [][]byte
	notified chan []unix.Errno
}

func (h hands) write() {
	runtime.LockOSThread()
	for notifications := range h.notify {
		var results []unix.Errno
		for _, n := range notifications {
			results = append(results, errno(again(func() error {
				_, err := unix.Write(pokerFUSE, n)
				return err
			})))
		}
		h.notified <- results
	}
}

// perform does ops in order and returns an errno for each, 0 for success. Notifications in a row go over at once: the way
// to the other thread takes longer than to write one.
func (h hands) perform(ops []Op) []unix.Errno {
	var results []unix.Errno
	var batch [][]byte
	for i, op := range ops {
		n := op.notification()
		if n == nil {
			results = append(results, errno(op.call()))
			continue
		}
		batch = append(batch, n)
		if i+1 == len(ops) || ops[i+1].notification() == nil {
			h.notify <- batch
			results = append(results, <-h.notified...)
			batch = nil
		}
	}
	return results
}

// exitWithServer ends the process when nobody is left at the other end of the socket, whatever the first thread waits for.
func exitWithServer() {
	fds := []unix.PollFd{{Fd: pokerServer}}
	for fds[0].Revents == 0 {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	os.Exit(0)
}

// call does an op that is a system call on the mount.
func (op Op) call() error {
	switch op.Kind {
	case Touch:
		return touch(op.Path)
	case MakeFile:
		fd, err := open(op.Path, unix.O_CREAT|unix.O_WRONLY)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	case RemoveFile:
		return again(func() error { return unix.Unlink(op.Path) })
	case MakeDir:
		return again(func() error { return unix.Mkdir(op.Path, 0o755) })
	case RemoveDir:
		return again(func() error { return unix.Rmdir(op.Path) })
	case MakeLink:
		return again(func() error { return unix.Symlink(op.Name, op.Path) })
	case Rename:
		return again(func() error { return unix.Rename(op.Path, op.Name) })
	case Modify:
		return again(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, op.Path, now(), unix.AT_SYMLINK_NOFOLLOW) })
	}
	return unix.ENOSYS
}

// touch makes the events of a new content: IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE, each once.
func touch(path string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	err = again(func() error { return unix.UtimesNanoAt(fd, "", now(), unix.AT_EMPTY_PATH) })
	return errors.Join(err, unix.Close(fd))
}

// now changes an mtime and nothing else: IN_MODIFY, and not IN_ATTRIB.
func now() []unix.Timespec { return []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}} }

func open(path string, flags int) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
		return err
	})
	return fd, err
}

func errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return unix.EIO
}

// notification is what an op of the first three kinds writes to /dev/fuse, nil for the others.
func (op Op) notification() []byte {
	order := binary.NativeEndian
	switch op.Kind {
	case InvalidateInode:
		// Offset -1 spares the pages of a live inode, and that is wanted: a version's pages are right for ever, only
		// its attributes may be stale.
		body := order.AppendUint64(nil, op.Node)
		return framed(notifyInvalidateInode, order.AppendUint64(order.AppendUint64(body, ^uint64(0)), 0))
	case InvalidateEntry:
		body := order.AppendUint64(nil, op.Parent)
		return framed(notifyInvalidateEntry, appendName(body, op.Name))
	case DeleteEntry:
		body := order.AppendUint64(order.AppendUint64(nil, op.Parent), op.Node)
		return framed(notifyDelete, appendName(body, op.Name))
	}
	return nil
}

// appendName ends a notification: length and padding or flags, then the name, which the kernel wants terminated.
func appendName(body []byte, name string) []byte {
	body = binary.NativeEndian.AppendUint64(body, 0)
	binary.NativeEndian.PutUint32(body[len(body)-8:], uint32(len(name)))
	return append(append(body, name...), 0)
}

// framed puts the header before a notification: length, code and unique 0.
func framed(code uint32, body []byte) []byte {
	msg := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	msg = binary.NativeEndian.AppendUint32(msg, code)
	msg = binary.NativeEndian.AppendUint64(msg, 0)
	return append(msg, body...)
}

// again repeats a call that a signal interrupted: the Go runtime sends itself SIGURG, and a request to a FUSE server ends
// with EINTR for it. Never for close: the descriptor is gone then too.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
