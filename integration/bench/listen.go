package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// listener hears of the files of a directory that somebody has written and closed.
type listener int // of inotify(7)

func listen(dir string) (listener, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return 0, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("watch %s: %w", dir, err)
	}
	return listener(fd), nil
}

func (l listener) close() { unix.Close(int(l)) }

// next publishes data, and says how long it took from there until an event of a file came that holds them.
func (l listener) next(path string, data []byte, publish func() error) (time.Duration, error) {
	started := time.Now()
	failed := make(chan error, 1)
	go func() { failed <- publish() }() // the event may be first
	for {
		names, err := l.names()
		took := time.Since(started)
		if err != nil {
			return 0, err
		}
		if slices.Contains(names, filepath.Base(path)) && holds(path, data) == nil {
			return took, <-failed
		}
	}
}

// names are those of the next events.
func (l listener) names() ([]string, error) {
	var buffer [16 * (unix.SizeofInotifyEvent + unix.NAME_MAX + 1)]byte
	for end := time.Now().Add(hearLimit); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(l), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(hearLimit.Milliseconds()))
		if n > 0 {
			n, err = unix.Read(int(l), buffer[:])
		}
		switch {
		case n > 0:
			return eventNames(buffer[:n]), nil
		case err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("inotify: %w", err)
		}
	}
	return nil, fmt.Errorf("no event after %v", hearLimit)
}

// eventNames takes apart what inotify(7) says: of each event the length of its name comes last before the name, which ends in zeros.
func eventNames(events []byte) (names []string) {
	for len(events) >= unix.SizeofInotifyEvent {
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name := events[unix.SizeofInotifyEvent:end]
		names = append(names, string(bytes.TrimRight(name, "\x00")))
		events = events[end:]
	}
	return names
}
