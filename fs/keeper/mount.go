package keeper

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fsType  = "fuse.kingpin"
	device  = "/dev/fuse"
	maxRead = 1 << 20

	maxLinks = 40 // as the kernel

	// probeTimeout is how long another KingPin may take to answer before it is said to hang.
	probeTimeout = 3 * time.Second
)

// findMountPoint says where path really is and that KingPin can be mounted there, or why not and what to do about it.
func findMountPoint(path string, log *slog.Logger) (string, error) {
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
		if top.fsType != fsType {
			return refuse(unix.EBUSY, "%s (%s) is mounted there; run umount %s, or choose another mount point", top.fsType, top.source, path)
		}
		switch probe(point) {
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
func probe(path string) health {
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
	case <-time.After(probeTimeout):
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

// mount opens the device and mounts it on point.
func mount(point string) (int, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("open %s: %w: run modprobe fuse; in a container, give it --device %s; or use --no-mount", device, err, device)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return -1, fmt.Errorf("open %s: %w: run as root; in a container, give it --device %s; or use --no-mount", device, err, device)
	case err != nil:
		return -1, fmt.Errorf("open %s: %w: use --no-mount to go without", device, err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, maxRead)
	err = unix.Mount("kingpin", point, fsType, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data)
	if err == nil {
		return fd, nil
	}
	unix.Close(fd)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("mount on %s: %w: run as root; in a container, give it CAP_SYS_ADMIN; or use --no-mount", point, err)
	case errors.Is(err, unix.ENODEV):
		return -1, fmt.Errorf("mount on %s: %w: run modprobe fuse, or use --no-mount", point, err)
	}
	return -1, fmt.Errorf("mount on %s: %w", point, err)
}

const (
	busyFor   = 250 * time.Millisecond // what a program that reads a file may take to close it
	busyPause = 10 * time.Millisecond
)

// unmount takes the topmost mount off point; one that is in use goes on for those who use it, out of everybody's sight.
func unmount(point string, flags int, log *slog.Logger) error {
	for deadline := time.Now().Add(busyFor); ; time.Sleep(busyPause) {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW|flags)
		if errors.Is(err, unix.EINVAL) {
			return nil // somebody else has done it
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if time.Now().After(deadline) {
			break
		}
	}
	log.Warn("mount is in use, detached from those who do not use it", "mount", point, "by", holders(point))
	return unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
}

// sweep takes dead mounts of ours off point.
func sweep(point string) error {
	for {
		stack, err := mountsOn(point)
		if err != nil || len(stack) == 0 || stack[len(stack)-1].fsType != fsType || probe(point) != dead {
			return err
		}
		if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the dead mount on %s: %w", point, err)
		}
	}
}

// aborted says that the connection behind fd is at an end: unmounted, or aborted by somebody.
func aborted(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	err := again(func() error {
		_, err := unix.Poll(fds, 0)
		return err
	})
	return err == nil && fds[0].Revents&unix.POLLERR != 0
}

const maxHolders = 5

// holders names the first processes that have something open below point. It reads links in /proc only, which asks the
// server for nothing.
func holders(point string) []string {
	var found []string
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil
	}
	for _, cwd := range links {
		dir := filepath.Dir(cwd)
		open, _ := filepath.Glob(dir + "/fd/*")
		for _, link := range append(open, cwd, dir+"/root") {
			target, err := os.Readlink(link)
			if err != nil || target != point && !strings.HasPrefix(target, point+"/") {
				continue
			}
			comm, _ := os.ReadFile(dir + "/comm")
			found = append(found, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), filepath.Base(dir)))
			break
		}
		if len(found) == maxHolders {
			break
		}
	}
	return found
}

// mountEntry is one line of /proc/self/mountinfo.
type mountEntry struct {
	id, parent     int
	minor          uint32
	fsType, source string
}

// mountsOn lists what is mounted on exactly point in this process's mount namespace, the topmost last.
func mountsOn(point string) ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var stack []mountEntry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, on, ok := parseMount(lines.Text())
		if ok && on == point {
			stack = append(stack, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	// The kernel lists mounts in the order they were made or moved; which one lies on which the parent says.
	for i := range stack {
		for j := i + 1; j < len(stack); j++ {
			if stack[i].parent == stack[j].id {
				stack[i], stack[j] = stack[j], stack[i]
			}
		}
	}
	return stack, nil
}

// parseMount reads "36 35 98:0 /root /point opts [optional...] - type source superopts" (proc(5)).
func parseMount(line string) (m mountEntry, point string, ok bool) {
	head, tail, found := strings.Cut(line, " - ")
	fields, after := strings.Fields(head), strings.Fields(tail)
	if !found || len(fields) < 6 || len(after) < 2 {
		return m, "", false
	}
	_, minor, _ := strings.Cut(fields[2], ":")
	number, err := strconv.ParseUint(minor, 10, 32)
	id, err1 := strconv.Atoi(fields[0])
	parent, err2 := strconv.Atoi(fields[1])
	if err := errors.Join(err, err1, err2); err != nil {
		return m, "", false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return mountEntry{id: id, parent: parent, minor: uint32(number), fsType: after[0], source: unescape.Replace(after[1])},
		unescape.Replace(fields[4]), true
}
