package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// controlSocket is the name of the control socket in the state directory.
const controlSocket = "control.sock"

// maxSocketPath is what fits into sun_path of unix(7).
const maxSocketPath = 107

// viaDirectory gives use a path to the socket that is short enough: beneath a descriptor of its directory if it must.
func viaDirectory(path string, use func(path string) error) error {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)))
}

func dialSocket(ctx context.Context, path string) (conn net.Conn, err error) {
	err = viaDirectory(path, func(short string) error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
		return err
	})
	return conn, err
}

// listenSocket makes the control socket for root and the members of one group. It has its name only once its mode is right, and
// takes the name over from a socket that a dead monitor left.
func listenSocket(path string, gid int) (net.Listener, error) {
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	var listener *net.UnixListener
	err := viaDirectory(fresh, func(short string) (err error) {
		_ = os.Remove(short) // of a process that had our id and died just here
		if listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"}); err != nil {
			return err
		}
		listener.SetUnlinkOnClose(false)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	mode := os.FileMode(0o660)
	if gid < 0 {
		mode = 0o600 // no group may publish, so neither may that of the process
	}
	for _, step := range []func() error{
		func() error { return os.Chmod(fresh, mode) },
		func() error { return os.Chown(fresh, -1, gid) },
		func() error { return os.Rename(fresh, path) },
	} {
		if err := step(); err != nil {
			listener.Close()
			os.Remove(fresh)
			return nil, fmt.Errorf("socket: %w", err)
		}
	}
	return listener, nil
}

// closeSocket gives the name back, unless another monitor has taken it meanwhile.
func closeSocket(path string, ours os.FileInfo) {
	if now, err := os.Lstat(path); err == nil && ours != nil && os.SameFile(now, ours) {
		_ = os.Remove(path) // one that stays is taken over by the next monitor
	}
}

// peer is who is at the other end of a connection.
type peer struct {
	uid uint32
	pid int32
}

func peerOf(conn net.Conn) (peer, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}, fmt.Errorf("connection of type %T has no credentials", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{}, err
	}
	if failed != nil {
		return peer{}, failed
	}
	return peer{uid: cred.Uid, pid: cred.Pid}, nil
}

// author is how the peer is named beside what it publishes: the human behind sudo, if the login is known.
func (p peer) author(host string) string {
	const unset = 1<<32 - 1
	id := uint64(p.uid)
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", p.pid)); err == nil {
		if login, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32); err == nil && login != unset {
			id = login
		}
	}
	name := strconv.FormatUint(id, 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return name + "@" + host
}
