package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// portrait is all that a reader can see of a file.
func portrait(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%q ino=%d mode=%v mtime=%d version=%s author=%s published=%s sha256=%s", read(t, path), st.Ino,
		info.Mode(), info.ModTime().UnixNano(), xattr(t, path, "user.kingpin.version"), xattr(t, path, "user.kingpin.author"),
		xattr(t, path, "user.kingpin.published"), xattr(t, path, "user.kingpin.sha256"))
}

// tree lists what a mount shows, with the targets of links.
func tree(t *testing.T, m *Monitor) string {
	t.Helper()
	return succeed(t, m, `find . -mindepth 1 -printf '%y %p %l\n' | sort`)
}

// TestRestartKeepsEverything: after a stop and a start readers find the same files, to the inode.
func TestRestartKeepsEverything(t *testing.T) {
	o := site(t)
	o.Flags = []string{"--dependency", "web.dep"}
	m := startMonitor(t, o)
	names := []string{"config.manageddata.restart.a", "config.manageddata.restart.b", "config.restart"}
	for _, name := range names {
		kingpin(t, m, "create", name)
		succeed(t, m, "echo "+name+" > config/"+name)
	}
	succeed(t, m, "echo changed > config/"+names[0])
	kingpin(t, m, "dep", "create", "nested.dep")
	kingpin(t, m, "dep", "add", "web.dep", "nested.dep")
	kingpin(t, m, "dep", "add", "nested.dep", names[1])
	before := tree(t, m)
	var portraits []string
	for _, name := range names {
		portraits = append(portraits, portrait(t, m.Path("config", name)))
	}
	stop(t, m)

	m = startMonitor(t, o)
	if after := tree(t, m); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for i, name := range names {
		if after := portrait(t, m.Path("config", name)); after != portraits[i] {
			t.Errorf("before: %s\nafter:  %s", portraits[i], after)
		}
	}
	succeed(t, m, "echo again > config/"+names[0])
	if got := read(t, m.Path("config", names[0])); got != "again\n" {
		t.Errorf("a write after the restart left %q", got)
	}
}

// TestRestartPlainFiles: with the monitor dead any program reads the same files in the state directory.
func TestRestartPlainFiles(t *testing.T) {
	const name = "config.manageddata.restart.plain"
	m := monitor(t)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo one > config/"+name)
	succeed(t, m, "echo two > config/"+name)
	plain := filepath.Join(m.State, "files/config", name)
	mounted, err := os.Stat(m.Path("config", name))
	if err != nil {
		t.Fatal(err)
	}
	crash(t, m)
	if got := read(t, plain); got != "two\n" {
		t.Errorf("the plain file holds %q", got)
	}
	if info, err := os.Stat(plain); err != nil || !info.ModTime().Equal(mounted.ModTime()) {
		t.Errorf("the plain file has another time than the file on the mount: %v, %v", info.ModTime(), mounted.ModTime())
	}
	if err := Unmount(m.Mount); err == nil {
		t.Log("a crash left no mount")
	}
}

// TestRestartSIGTERMUnmounts: the monitor ends in order, with nothing left, even with a file open and a watch set.
func TestRestartSIGTERMUnmounts(t *testing.T) {
	m := monitor(t, "--demo")
	f, err := os.Open(m.Path("config/config.manageddata.demo.greeting"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inotifywait(t, "%f", "close_write", m.Path("config"))
	stop(t, m) // it checks what is left
	if entries, err := os.ReadDir(m.Mount); err != nil || len(entries) != 0 {
		t.Errorf("the mount point holds %v, %v", entries, err)
	}
}

// TestRestartDeadMount: a mount whose processes were all killed at once is mounted over by the next start.
func TestRestartDeadMount(t *testing.T) {
	const name = "config.manageddata.restart.dead"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo alive > config/"+name)
	crash(t, m)
	if _, err := os.Stat(m.Path("config", name)); err == nil {
		t.Log("the path still shows the last good files, as it should with the plain tree below")
	} else if !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Fatalf("a mount without a server says %v", err)
	}

	m = startMonitor(t, o)
	if got := read(t, m.Path("config", name)); got != "alive\n" {
		t.Errorf("the file holds %q", got)
	}
	succeed(t, m, "echo again > config/"+name)
	stop(t, m)
	if mounts, err := Mounts(o.Mount); err != nil || len(mounts) != 0 {
		t.Errorf("after a clean stop: %v, %v", mounts, err)
	}
}

// TestRestartServerKilled: readers do not notice that the server was killed, nor does a watch or an open file.
func TestRestartServerKilled(t *testing.T) {
	const name = "config.manageddata.restart.killed"
	m := monitor(t)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(1), 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	heard := inotifywait(t, "%w", "close_write", path)
	r := startReader(t, path, "to its end")

	old, err := m.Server()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another server has taken over", func() bool {
		pid, err := m.Server()
		return err == nil && pid != old
	})
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, numberedBody(2), 0o644); err != nil {
		t.Fatalf("a write after the takeover: %v", err)
	}
	heard.next(t)
	if s := r.finish(t); s.Versions != 2 {
		t.Errorf("the reader saw %d versions, not 2", s.Versions)
	}
	content := make([]byte, len(numberedBody(1)))
	if _, err := open.ReadAt(content, 0); err != nil {
		t.Errorf("the file that was open: %v", err)
	} else if n, err := bodyNumber(content); err != nil || n != 1 {
		t.Errorf("the file that was open shows %d: %v", n, err)
	}
}

// TestRestartNoMount: without a mount the same tree is there as plain files, for CI jobs, sidecars and restricted pods.
func TestRestartNoMount(t *testing.T) {
	const name = "config.manageddata.restart.nomount"
	o := site(t)
	o.Plain = true
	m := startPlain(t, o)
	kingpin(t, m, "create", name)
	put := m.Command(t.Context(), "put", name, "-")
	put.Stdin = strings.NewReader("plain\n")
	if out := result(t, put); out.code != 0 {
		t.Fatalf("put: %v", out)
	}
	if got := read(t, filepath.Join(o.State, "files/config", name)); got != "plain\n" {
		t.Errorf("the plain file holds %q", got)
	}
	if got := kingpin(t, m, "cat", name); got != "plain\n" {
		t.Errorf("kingpin cat: %q", got)
	}
	if mounts, err := Mounts(filepath.Dir(o.State)); err != nil || len(mounts) != 0 {
		t.Errorf("--no-mount has mounted %v, %v", mounts, err)
	}
}

// startPlain starts a monitor that needs no privilege, since it does not mount.
func startPlain(t *testing.T, o Options) *Monitor {
	t.Helper()
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the monitor said last:\n%s", tail(m.Log()))
		}
	})
	return m
}

// TestRestartReadOnly: a read-only monitor serves, refuses every write by EROFS, and its watches work all the same.
func TestRestartReadOnly(t *testing.T) {
	const name = "config.manageddata.restart.readonly"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo one > config/"+name)
	stop(t, m)

	o.Flags = []string{"--read-only"}
	m = startMonitor(t, o)
	path := m.Path("config", name)
	if got := read(t, path); got != "one\n" {
		t.Errorf("the file holds %q", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o222 != 0 {
		t.Errorf("mode %v has write bits", info.Mode())
	}
	for line, says := range map[string]string{
		"echo two > config/" + name:                      "Read-only file system",
		"echo two > config/.scratch":                     "Read-only file system",
		"rm config/" + name:                              "cannot remove",
		"mkdir other.dep":                                "cannot create",
		"sed -i s/one/two/ config/" + name:               "Read-only file system",
		"kingpin put " + name + " /dev/null --force":     "read only",
		"kingpin create config.manageddata.restart.more": "read only",
	} {
		if out := shell(t, m, line); out.code == 0 || !strings.Contains(out.stderr, says) {
			t.Errorf("%s: %v", line, out)
		}
	}
	if got := read(t, path); got != "one\n" {
		t.Errorf("in the end the file holds %q", got)
	}
}

// TestRestartPublishGroup: members of the publish group write, others are told by the kernel that they may not.
func TestRestartPublishGroup(t *testing.T) {
	const name = "config.manageddata.restart.group"
	const group, member, stranger = 4711, 10001, 10002
	m := monitor(t, "--publish-group", fmt.Sprint(group))
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o664 || st.Uid != 0 || st.Gid != group {
		t.Errorf("the file is %v %d:%d", info.Mode(), st.Uid, st.Gid)
	}
	if out := as(t, member, []uint32{group}, "echo member > "+path); out.code != 0 {
		t.Errorf("a member of the group: %v", out)
	}
	if out := as(t, stranger, nil, "echo stranger > "+path); out.code == 0 || !strings.Contains(out.stderr, "Permission denied") {
		t.Errorf("a stranger: %v", out)
	}
	if got := read(t, path); got != "member\n" {
		t.Errorf("the file holds %q", got)
	}
}

// as runs a line of shell as another user, with supplementary groups.
func as(t *testing.T, uid uint32, groups []uint32, line string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	return result(t, cmd)
}

// within gives a context for something that has to happen soon.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
