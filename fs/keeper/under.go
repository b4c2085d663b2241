package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// layUnder puts the plain files on the mount point, read only, unless they are on top of it already. Whatever becomes of a mount
// over them, its paths then lead to the last good content.
func layUnder(point, files string) error {
	if files == "" || isUnder(point, files) {
		return nil
	}
	if err := unix.Mount(files, point, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", files, point, err)
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", point, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read only: %w", point, err), unix.Unmount(point, unix.MNT_DETACH))
	}
	share(point)
	return nil
}

// layUnder is best effort: a mount without the files under it serves as well. On a machine's first start there are none.
func (k *keeper) layUnder() {
	if err := layUnder(k.point, k.Under); err != nil && !errors.Is(err, unix.ENOENT) {
		k.Logger.Warn("no plain files under the mount", "err", err)
	}
}

// isUnder says whether the plain files are what is mounted on top of point.
func isUnder(point, files string) bool {
	stack, err := mountsOn(point)
	if files == "" || err != nil || len(stack) == 0 || stack[len(stack)-1].fsType == fsType {
		return false
	}
	there, err := os.Stat(point)
	if err != nil {
		return false
	}
	here, err := os.Stat(files)
	return err == nil && os.SameFile(there, here)
}

// share has whoever bound the mount on point as a slave (a container, with rslave) see what is mounted over it later. On most
// machines every mount is shared already; where the root is private, this one would be, too. Best effort.
func share(point string) { _ = unix.Mount("", point, "", unix.MS_SHARED, "") }

// sweep takes off point what a keeper leaves there: dead mounts, and the plain files under them.
func sweep(point, files string) error {
	for {
		stack, err := mountsOn(point)
		if err != nil || len(stack) == 0 {
			return err
		}
		ours := stack[len(stack)-1].fsType == fsType
		if !isUnder(point, files) && (!ours || probe(point, probeTimeout) != dead) {
			return nil
		}
		if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the remains on %s: %w", point, err)
		}
	}
}

const (
	rescueProbe = 100 * time.Millisecond // a dead mount answers at once
	rescueWait  = 10 * time.Second       // what a server may outlive its keeper
	rescuePause = 10 * time.Millisecond
)

// Rescue looks after a mount whose keeper is gone, and is to be called whenever a keeper has ended: if the mount is dead, it
// binds the plain files over it, read only, so that its paths and every container that bound it show the last good
// content until the next keeper mounts over that. After a clean stop there is nothing to do, and nothing is touched while a
// keeper lives or the service manager keeps the mount for the next one.
func Rescue(mount, files string) error { return rescue(mount, files, askManager) }

func rescue(mount, files string, ask func(context.Context) (intention, error)) error {
	point, err := resolve(mount)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rescue %s: %w", mount, err)
	}
	switch os.Getenv("SERVICE_RESULT") { // see systemd.exec(5)
	case "success":
		return nil // the keeper has unmounted, or left the mount to the next one, who is not to be kept waiting
	case "exit-code":
		// It failed before it mounted, and the next one will in the same way: nobody is to wait for it.
	default:
		if i, err := ask(context.Background()); err == nil && i.keeps() {
			return nil
		}
	}
	for deadline := time.Now().Add(rescueWait); ; time.Sleep(rescuePause) {
		stack, err := mountsOn(point)
		if err != nil || len(stack) == 0 || stack[len(stack)-1].fsType != fsType || keeperLives(point) {
			return err
		}
		switch health := probe(point, rescueProbe); {
		case health == dead:
			slog.Warn("mount is dead, binding the plain files over it", "mount", point, "files", files)
			return layUnder(point, files)
		case health == hanging:
			if err := abort(point); err != nil {
				return err
			}
		case time.Now().After(deadline):
			return fmt.Errorf("rescue %s: a server serves it without a keeper", mount)
		}
	}
}
