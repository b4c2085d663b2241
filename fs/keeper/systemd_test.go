//go:build soak

package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// realSystemd is the real thing, as process 1 of namespaces of its own, with one unit: ours.
type realSystemd struct {
	t     *testing.T
	dir   string // units, mount point, plain files, log
	point string
	pid   int
}

const systemdPath = "/lib/systemd/systemd"

// bootScript prepares the namespaces. Nothing outside them is changed: even the machine's id is another one.
const bootScript = `
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
echo 0123456789abcdef0123456789abcdef > /run/machine-id
mount --bind /run/machine-id /etc/machine-id
umount -l /sys/fs/cgroup
if [ "$GROUPS_VERSION" = 2 ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
	mount -t tmpfs tmpfs /sys/fs/cgroup
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
export container=other SYSTEMD_UNIT_PATH="$UNITS"
exec ` + systemdPath + ` --system --unit=test.target --log-target=console
`

const unitText = `
[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
Environment=KEEPER_TEST_ROLE=keeper "MOUNT=%[2]s/mount" "UNDER=%[2]s/files" "COMMANDS=%[2]s/commands"
ExecStart=%[1]s
ExecStopPost=/usr/bin/env KEEPER_TEST_ROLE=rescue %[3]s
Restart=always
KillMode=mixed
FileDescriptorStoreMax=4
OOMPolicy=continue
OOMScoreAdjust=-900
WatchdogSec=20
StandardOutput=append:%[2]s/log
StandardError=append:%[2]s/log
`

func startSystemd(t *testing.T) *realSystemd {
	t.Helper()
	need(t)
	for _, program := range []string{systemdPath, "unshare", "nsenter", "systemctl"} {
		if _, err := exec.LookPath(program); err != nil {
			unable(t, err.Error())
		}
	}
	s := &realSystemd{t: t, dir: t.TempDir()}
	s.point = filepath.Join(s.dir, "mount")
	units := filepath.Join(s.dir, "units")
	for _, dir := range []string{units, s.point, filepath.Join(s.dir, "files")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"test", "shutdown", "sysinit", "basic"} {
		s.write("units/"+name+".target", "[Unit]\nDefaultDependencies=no\n")
	}
	s.write("files/"+fileName, plainContent)
	s.write("log", "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.unit(self)
	groups, version := ownCgroups(t)
	boot := exec.Command("unshare", "--fork", "--pid", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc",
		"--propagation", "private", "sh", "-c", bootScript)
	enter := ""
	for _, group := range groups {
		enter += "echo $$ > " + group + "/cgroup.procs && "
	}
	boot = exec.Command("sh", append([]string{"-c", enter + `exec "$0" "$@"`}, boot.Args...)...)
	boot.Env = append(os.Environ(), "UNITS="+units, "GROUPS_VERSION="+version)
	boot.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out transcript
	boot.Stdout, boot.Stderr = &out, &out
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.pid != 0 {
			unix.Kill(s.pid, unix.SIGKILL)
		}
		boot.Process.Kill()
		boot.Wait()
		if t.Failed() {
			t.Logf("systemd: %s\nlog: %s", out.String(), s.log())
		}
	})
	eventually(t, "systemd is up", func() bool {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", boot.Process.Pid))
		_, err := fmt.Sscan(string(children), &s.pid)
		return err == nil && s.inside("systemctl", "is-active", "test.target") == "active"
	})
	return s
}

// ownCgroups makes groups for systemd to live in, one in each hierarchy that it may touch.
func ownCgroups(t *testing.T) (groups []string, version string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	version = "2"
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(fields[1], "name="))
		if fields[1] == "" {
			if root = "/sys/fs/cgroup"; unix.Access(root+"/cgroup.procs", unix.R_OK) != nil {
				root = "/sys/fs/cgroup/unified"
			}
		} else if !slices.Contains([]string{"name=systemd", "pids", "memory"}, fields[1]) {
			continue
		} else {
			version = "1"
		}
		dir, err := os.MkdirTemp(filepath.Join(root, fields[2]), "keeper-test-")
		if err != nil {
			if fields[1] == "name=systemd" || version == "2" {
				unable(t, err.Error())
			}
			continue
		}
		groups = append(groups, dir)
		t.Cleanup(func() {
			eventually(t, "the cgroups are empty", func() bool { return removeCgroups(dir) == nil })
		})
	}
	return groups, version
}

func removeCgroups(root string) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var all error
	for _, dir := range slices.Backward(dirs) {
		all = errors.Join(all, os.Remove(dir))
	}
	return all
}

func (s *realSystemd) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// unit writes the unit with this program as the keeper.
func (s *realSystemd) unit(keeper string) {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("units/kingpin.service", fmt.Sprintf(unitText, keeper, s.dir, self))
}

// inside runs a program where systemd lives, and returns what it prints.
func (s *realSystemd) inside(args ...string) string {
	args = append([]string{"-t", fmt.Sprint(s.pid), "-m", "-p", "-C", "-u", "-i", "timeout", "10"}, args...)
	out, _ := exec.Command("nsenter", args...).Output()
	return strings.TrimSpace(string(out))
}

func (s *realSystemd) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// reads waits until the file in the mount has this content.
func (s *realSystemd) reads(want string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("the file has %q", want), func() bool {
		return s.inside("cat", filepath.Join(s.point, fileName)) == strings.TrimSpace(want)
	})
}

func (s *realSystemd) mounts() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(text), " "+s.point+" ")
}

func TestServiceOfARealSystemd(t *testing.T) {
	s := startSystemd(t)
	s.inside("systemctl", "start", "kingpin.service")
	s.reads(content)
	mounts := s.mounts()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reader := exec.Command("nsenter", "-t", fmt.Sprint(s.pid), "-m", self)
	reader.Env = append(os.Environ(), roleVariable+"=reader", "FILE="+filepath.Join(s.point, fileName))
	input, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var read transcript
	reader.Stdout = &read
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		s.inside("systemctl", "restart", "kingpin.service")
		eventually(t, "it is served again", func() bool { return strings.Contains(s.log(), fmt.Sprintf("incarnation=%d took", n+2)) })
	}
	for n, whom := range []string{"main", "all"} {
		s.inside("systemctl", "kill", "--signal=KILL", "--kill-who="+whom, "kingpin.service")
		eventually(t, "it is served again", func() bool { return strings.Contains(s.log(), fmt.Sprintf("incarnation=%d took", n+7)) })
	}
	if now := s.mounts(); now != mounts {
		t.Errorf("%d mounts were %d", now, mounts)
	}
	input.Close()
	reader.Wait()
	t.Log(strings.TrimSpace(read.String()))
	if text := read.String(); !strings.Contains(text, " failed=0 ") || strings.HasPrefix(text, "reads=0") {
		t.Errorf("reader: %s", text)
	}

	s.inside("systemctl", "stop", "kingpin.service")
	if left := s.mounts(); left != 0 {
		t.Errorf("a stop leaves %d mounts", left)
	}

	s.inside("systemctl", "start", "kingpin.service")
	s.reads(content)
	s.write("broken", "#!/bin/sh\nexit 2\n")
	s.unit(filepath.Join(s.dir, "broken"))
	s.inside("systemctl", "daemon-reload")
	s.inside("systemctl", "kill", "--signal=KILL", "--kill-who=all", "kingpin.service")
	s.reads(plainContent)
	s.unit(self)
	s.inside("systemctl", "daemon-reload")
	s.reads(content)
	began := time.Now()
	s.inside("systemctl", "stop", "kingpin.service")
	if left := s.mounts(); left != 0 {
		t.Errorf("a stop leaves %d mounts", left)
	}
	t.Logf("the stop took %v", time.Since(began).Round(time.Millisecond))
}
