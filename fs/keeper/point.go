package keeper

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxLinks = 40 // as the kernel

	// probeTimeout is how long another KingPin may take to answer before it is said to hang.
	probeTimeout = 2 * time.Second
)

// findMountPoint says where path really is and that KingPin can be mounted there, or why not and what to do about it.
func findMountPoint(path, under string, log *slog.Logger) (string, error) {
	refuse := func(err error, format string, args ...any) (string, error) {
		return "", fmt.Errorf("mount on %s: %w: %s", path, err, fmt.Sprintf(format, args...))
	}
	point, err := resolve(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return refuse(unix.ENOENT, "run mkdir -p %s", path)
	case errors.Is(err, unix.ENOTDIR):
		return refuse(unix.ENOTDIR, "choose a directory as mount point")
	case err != nil:
		return "", fmt.Errorf("mount on %s: %w", path, err)
	}
	stack, err := mountsOn(point)
	if err != nil {
		return "", err
	}
	if len(stack) > 0 {
		top := stack[len(stack)-1]
		if isUnder(point, under) {
			return point, nil // as a killed keeper left it
		}
		if top.fsType != fsType {
			return refuse(unix.EBUSY, "%s (%s) is mounted there; run umount %s, or choose another mount point", top.fsType, top.source, path)
		}
		switch probe(point, probeTimeout) {
		case dead:
			return point, nil // it is mounted over
		case hanging:
			if keeperLives(point) {
				return refuse(unix.EBUSY, "a KingPin is mounted there and does not answer; stop it, then run umount -f %s", path)
			}
			log.Warn("a KingPin was killed and its mount hangs, aborting its connection to the kernel", "mount", point)
			return point, abort(point)
		}
		return refuse(unix.EBUSY, "a KingPin serves it already; stop that one, or choose another mount point")
	}
	entries, err := os.ReadDir(point)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return refuse(unix.ENOTDIR, "choose a directory as mount point")
	case err != nil:
		return "", fmt.Errorf("mount on %s: %w", path, err)
	case len(entries) > 0:
		return refuse(unix.ENOTEMPTY, "it holds %q, which the mount would hide; choose an empty directory", entries[0].Name())
	}
	return point, nil
}

// resolve follows symbolic links without touching what is mounted at the end of them, which may be dead or hang.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		if stack, err := mountsOn(path); err != nil || len(stack) > 0 {
			return path, err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			return path, nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", unix.ELOOP
}

type health int

const (
	alive health = iota
	dead
	hanging
)

// probe asks what is mounted on path for an answer; any will do.
func probe(path string, patience time.Duration) health {
	answer := make(chan error, 1)
	go func() { // left behind if it hangs: the caller gives up and the process ends
		var st unix.Statfs_t
		answer <- again(func() error { return unix.Statfs(path, &st) })
	}()
	select {
	case err := <-answer:
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
			return dead
		}
		return alive
	case <-time.After(patience):
		return hanging
	}
}

// keeperName is an abstract socket that the keeper of point holds as long as it lives.
func keeperName(point string) unix.Sockaddr {
	return &unix.SockaddrUnix{Name: fmt.Sprintf("@kingpin-keeper-%x", sha256.Sum256([]byte(point)))}
}

// claim holds the name of point's keeper until the descriptor is closed. Best effort: anybody could take that name, so it
// decides only over a mount that does not answer.
func claim(point string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, keeperName(point))
}

func keeperLives(point string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	return !errors.Is(unix.Connect(fd, keeperName(point)), unix.ECONNREFUSED)
}

// abort has every request in the mount on point end with an error, and leaves it there, dead. A poker that was killed with
// its server while it notified the kernel may keep the connection open for ever: it waits for a directory whose lock is
// held by a program that waits for the server.
func abort(point string) error {
	busy, err := unix.Open(point, unix.O_PATH|unix.O_CLOEXEC, 0) // else it would be detached
	if err != nil {
		return fmt.Errorf("abort the connection of %s: %w", point, err)
	}
	defer unix.Close(busy)
	if err := unix.Unmount(point, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("abort the connection of %s: %w", point, err)
	}
	return nil
}
