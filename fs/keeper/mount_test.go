package keeper

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPointsThatWillNotDo(t *testing.T) {
	need(t)
	dir := t.TempDir()
	file, full, foreign := filepath.Join(dir, "file"), filepath.Join(dir, "full"), filepath.Join(dir, "foreign")
	loop, link := filepath.Join(dir, "loop"), filepath.Join(dir, "link")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(file, nil, 0o644))
	must(os.MkdirAll(filepath.Join(full, "photos"), 0o755))
	must(os.Mkdir(foreign, 0o755))
	must(os.Symlink(loop, loop))
	must(os.Symlink("foreign", link))
	must(unix.Mount("scratch", foreign, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(foreign, unix.MNT_DETACH) })

	tests := []struct {
		path  string
		errno error
		say   string
	}{
		{filepath.Join(dir, "missing"), unix.ENOENT, "mkdir -p " + dir + "/missing"},
		{filepath.Join(dir, "missing/below"), unix.ENOENT, "mkdir -p"},
		{file, unix.ENOTDIR, "choose a directory"},
		{file + "/below", unix.ENOTDIR, "choose a directory"},
		{full, unix.ENOTEMPTY, `holds "photos"`},
		{foreign, unix.EBUSY, "tmpfs (scratch) is mounted there; run umount " + foreign},
		{link, unix.EBUSY, "tmpfs (scratch) is mounted there"},
		{loop, unix.ELOOP, ""},
		{"/proc", unix.EBUSY, "proc"},
	}
	for _, test := range tests {
		_, err := findMountPoint(test.path, "", slog.Default())
		if !errors.Is(err, test.errno) || !strings.Contains(err.Error(), test.say) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: %v", test.path, err)
		}
	}
}

func TestMountPointBehindALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "real/point"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"a": "real", "b": "a/point", "c": filepath.Join(dir, "b")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := findMountPoint(filepath.Join(dir, "c"), "", slog.Default())
	if want := filepath.Join(dir, "real/point"); got != want || err != nil {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

func TestSecondKeeperOnALiveMount(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "PROBE=1h") // nobody replaces the server when it hangs
	server := m.serving(1)
	refused := func(say string) {
		t.Helper()
		p := start(t, "keeper", "MOUNT="+m.mount)
		if !p.wait(patience) || p.err == nil {
			t.Errorf("%v: %s", p.err, p.log.String())
		}
		eventually(t, "the log says "+say, func() bool { return strings.Contains(p.log.String(), say) })
	}
	refused("a KingPin serves it already")
	unix.Kill(server, unix.SIGSTOP)
	refused("does not answer")
	unix.Kill(server, unix.SIGCONT)
	m.cat(t)
}

func TestWithoutDeviceOrPrivilege(t *testing.T) {
	tests := []struct {
		impaired, say string
	}{
		{"device", "open /dev/fuse: no such file or directory: run modprobe fuse; in a container, give it --device /dev/fuse; or use --no-mount"},
		{"open", "open /dev/fuse: permission denied: run as root"},
		{"mount", "operation not permitted: run as root; in a container, give it CAP_SYS_ADMIN; or use --no-mount"},
	}
	for _, test := range tests {
		m := newMonitor(t, "IMPAIRED="+test.impaired)
		if !m.wait(patience) || m.err == nil {
			t.Fatalf("without %s the keeper runs", test.impaired)
		}
		eventually(t, "the log says "+test.say, func() bool { return strings.Contains(m.log.String(), test.say) })
	}
}

// impair takes from this process what IMPAIRED says.
func impair() error {
	switch os.Getenv("IMPAIRED") {
	case "device": // an empty /dev, in a mount namespace of its own
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return unix.Mount("empty", "/dev", "tmpfs", 0, "")
	case "open": // no right to open a device of root's
		runtime.LockOSThread()
		return dropCapabilities(unix.CAP_DAC_OVERRIDE)
	case "mount":
		runtime.LockOSThread()
		return dropCapabilities(unix.CAP_SYS_ADMIN)
	}
	return nil
}

func dropCapabilities(which uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << which
	data[0].Permitted &^= 1 << which
	if which == unix.CAP_DAC_OVERRIDE { // root owns the device: another user, without the others' right to open it
		if err := unix.Setfsuid(65534); err != nil {
			return err
		}
	}
	return unix.Capset(&header, &data[0])
}

func TestParseMount(t *testing.T) {
	m, point, ok := parseMount(`40 27 0:51 / /mnt/a\040b\134c rw,nosuid shared:1 - fuse.kingpin king\040pin rw,user_id=0`)
	want := mountEntry{id: 40, parent: 27, minor: 51, fsType: "fuse.kingpin", source: "king pin"}
	if !ok || m != want || point != `/mnt/a b\c` {
		t.Errorf("%+v %q %v", m, point, ok)
	}
	for _, line := range []string{"", "a b c", "1 2 3 4 5 6 - fuse x", "1 2 0:x / /p rw - t s", "x 2 0:1 / /p rw - t s", "1 2 0:1 / /p rw - t"} {
		if _, _, ok := parseMount(line); ok {
			t.Errorf("accepted %q", line)
		}
	}
}
