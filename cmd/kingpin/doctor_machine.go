package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// kernel says whether this one can do what the mount promises.
func (x *examination) kernel() {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		x.found("kernel", ill, "", "uname: %v", err)
		return
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		x.found("kernel", doubt, "", "what version is %s?", release)
		return
	}
	if err := unix.Access("/dev/fuse", unix.F_OK); err != nil && x.mount != "" {
		x.found("kernel", ill, "modprobe fuse; in a container: give it the device", "there is no /dev/fuse")
	}
	if major < 6 || major == 6 && minor < 9 {
		x.found("kernel", doubt, "from 6.9 on such a request is answered by the next server",
			"Linux %s: a request under way when the server is killed ends with an error", release)
		return
	}
	x.found("kernel", fine, "", "Linux %s", release)
}

// The magic numbers of file systems, from linux/magic.h.
const (
	fuseMagic    = 0x65735546
	tmpfsMagic   = 0x01021994
	nfsMagic     = 0x6969
	overlayMagic = 0x794c7630
)

// mounted says whether the mount is one, and alive.
func (x *examination) mounted() {
	if x.mount == "" {
		x.found("mount", fine, "", "none: the monitor keeps plain files")
		return
	}
	if errors.Is(x.trouble, registry.ErrTimeout) {
		x.found("mount", ill, "systemctl restart kingpin: it mounts over it", "%s hangs: who looks at it waits", x.mount)
		return
	}
	var fs unix.Statfs_t
	err := unix.Statfs(x.mount, &fs)
	switch {
	case errors.Is(err, unix.ENOTCONN):
		x.found("mount", ill, "start the monitor, it mounts over it; until then: kingpin monitor --rescue", "%s is dead: nobody serves it", x.mount)
	case errors.Is(err, unix.ENOENT):
		x.found("mount", ill, "mkdir "+x.mount, "there is no %s", x.mount)
	case err != nil:
		x.found("mount", ill, "", "%s: %v", x.mount, err)
	case fs.Type != fuseMagic && x.tree != nil && x.tree.root == x.mount:
		x.found("mount", ill, "systemctl start kingpin, or kingpin monitor: it mounts over them", "plain files lie at %s, as --rescue leaves them", x.mount)
	case fs.Type != fuseMagic:
		x.found("mount", ill, "systemctl start kingpin, or kingpin monitor", "%s is not mounted", x.mount)
	case x.now.Ready || x.tree != nil && x.tree.served:
		x.found("mount", fine, "", "%s %s", x.mount, machineStatus{monitorStatus: x.now}.access())
	default:
		x.found("mount", ill, "who mounted it? findmnt "+x.mount, "%s is a mount, but no monitor answers through it", x.mount)
	}
}

// permissions says whether only those may publish who should, and whether they can.
func (x *examination) permissions() {
	before := len(x.findings)
	info, err := os.Stat(x.state)
	if err != nil {
		if x.tree == nil || x.tree.monitor != nil {
			x.found("permissions", ill, "is the state directory elsewhere? say --state PATH", "%v", err)
		}
		return
	}
	if info.Mode().Perm()&0o022 != 0 {
		x.found("permissions", ill, "chmod 755 "+x.state, "%s may be written by others than its owner: who can write there publishes on this machine", x.state)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && x.mount != "" {
		x.found("permissions", doubt, "chown -R root "+x.state, "%s belongs to uid %d", x.state, owner.Uid)
	}
	if group := x.now.PublishGroup; group != "" {
		if _, err := user.LookupGroup(group); err != nil {
			x.found("permissions", doubt, "groupadd "+group, "the group that may publish, %s, has no name on this machine", group)
		}
	}
	if len(x.findings) == before {
		x.found("permissions", fine, "", "%s is written by its owner alone", x.state)
	}
}

// disk says whether the next version will find room, and whether the disk is one.
func (x *examination) disk() {
	const (
		lowBytes  = 256 << 20
		lowInodes = 10000
	)
	var fs unix.Statfs_t
	if err := unix.Statfs(x.state, &fs); err != nil {
		return // permissions said so
	}
	before := len(x.findings)
	free := int64(fs.Bavail) * fs.Bsize
	if free < lowBytes {
		x.found("disk", ill, "make room: a version that finds none is not applied, the one before stays", "%s has %s left", x.state, room(free))
	}
	if fs.Files > 0 && fs.Ffree < lowInodes {
		x.found("disk", ill, "make room: each version is a file", "%s has %d inodes left", x.state, fs.Ffree)
	}
	switch fs.Type {
	case tmpfsMagic:
		x.found("disk", doubt, "keep the state on a disk", "%s is in memory: after a reboot nothing is here before the registry answers", x.state)
	case nfsMagic:
		x.found("disk", ill, "keep the state on a local disk", "%s is on NFS: reads would wait for the network", x.state)
	case overlayMagic:
		x.found("disk", doubt, "give the container a volume", "%s is in a container's layer: it goes with the container", x.state)
	}
	if watches := readNumber("/proc/sys/fs/inotify/max_user_watches"); watches > 0 && watches < 8192 {
		x.found("disk", doubt, "sysctl fs.inotify.max_user_watches=65536", "programs of one user may watch only %d files", watches)
	}
	if len(x.findings) == before {
		x.found("disk", fine, "", "%s has %s left", x.state, room(free))
	}
}

// room is a number of bytes for people.
func room(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

func readNumber(path string) (n int) {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(strings.TrimSpace(string(data)), &n)
	return n
}

// synchronised asks the kernel whether something keeps its clock right.
func synchronised() error {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return fmt.Errorf("adjtimex: %w", err)
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return errors.New("nothing keeps this machine's clock right, says the kernel")
	}
	return nil
}
