package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fsType  = "fuse.kingpin"
	device  = "/dev/fuse"
	maxRead = 1 << 20
)

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
		share(point)
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
