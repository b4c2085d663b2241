package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// changeEvents are the ends of what may change a file of a directory.
const changeEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_DELETE | unix.IN_ONLYDIR

// alarm rings when something happens in a directory. What has happened is for the one who is woken to find out.
type alarm struct {
	file *os.File // of inotify; not blocking, so that closing it ends a read
	wake chan struct{}
	done chan struct{}
}

func newAlarm() (*alarm, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "inotify"), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go a.listen()
	return a, nil
}

// listen reads events until the file is closed.
func (a *alarm) listen() {
	defer close(a.done)
	events := make([]byte, 64<<10)
	for {
		if _, err := a.file.Read(events); err != nil {
			return
		}
		select {
		case a.wake <- struct{}{}:
		default: // it rings already
		}
	}
}

// watch is for saying again and again: a directory that is watched is no other watch, one that was mounted over is.
func (a *alarm) watch(dir string) error {
	control, err := a.file.SyscallConn()
	if err != nil {
		return err
	}
	var added error
	err = control.Control(func(fd uintptr) { _, added = unix.InotifyAddWatch(int(fd), dir, changeEvents) })
	return errors.Join(err, os.NewSyscallError("inotify_add_watch", added))
}

func (a *alarm) close() error {
	err := a.file.Close()
	<-a.done
	return err
}
