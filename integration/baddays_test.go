package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refusedStart runs a monitor that has to end by itself, quickly, with words that help.
func refusedStart(t *testing.T, o Options, code int, says ...string) {
	t.Helper()
	needMount(t)
	o.Unready = true
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Wait(within(t))
	if err != nil {
		m.Abort()
		t.Error(err, m.Stop())
		return
	}
	if got != code {
		t.Errorf("exit code %d, not %d", got, code)
	}
	for _, words := range says {
		if !strings.Contains(m.Log(), words) {
			t.Errorf("it does not say %q:\n%s", words, m.Log())
		}
	}
}

func TestBadDayMountPointMissing(t *testing.T) {
	t.Parallel() // it waits more than it works
	o := site(t)
	o.Mount = filepath.Join(o.Mount, "missing")
	refusedStart(t, o, 1, o.Mount, "mkdir")
}

func TestBadDayMountPointNotEmpty(t *testing.T) {
	o := site(t)
	if err := os.WriteFile(filepath.Join(o.Mount, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refusedStart(t, o, 1, o.Mount, "not empty")
}

func TestBadDayMountPointIsAFile(t *testing.T) {
	o := site(t)
	o.Mount = filepath.Join(o.Mount, "file")
	if err := os.WriteFile(o.Mount, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refusedStart(t, o, 1, o.Mount, "directory")
}

func TestBadDayMountPointBusy(t *testing.T) {
	o := site(t)
	m := startMonitor(t, o)
	other := o
	other.State = filepath.Join(directory(t), "s")
	refusedStart(t, other, 1, o.Mount)
	if _, err := m.Server(); err != nil {
		t.Errorf("the first monitor after the second one was refused: %v", err)
	}
}

func TestBadDayStateInUse(t *testing.T) {
	o := site(t)
	startMonitor(t, o)
	other := o
	other.Mount = filepath.Join(directory(t), "m")
	if err := os.Mkdir(other.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	refusedStart(t, other, 1, o.State, "in use")
}

func TestBadDayStateOfANewerProgram(t *testing.T) {
	o := site(t)
	stop(t, startMonitor(t, o))
	if err := os.WriteFile(filepath.Join(o.State, "FORMAT"), []byte("kingpin state 99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refusedStart(t, o, 1, o.State, "format 99", "newer")
}

func TestBadDayNoFuse(t *testing.T) {
	needMount(t)
	needProgram(t, "unshare")
	o := site(t)
	cmd := exec.CommandContext(within(t), "unshare", "--mount", "sh", "-c",
		`mount -t tmpfs none /dev && exec "$0" monitor --mount "$1" --state "$2"`, o.Binary, o.Mount, o.State)
	if out := result(t, cmd); out.code != 1 || !strings.Contains(out.stderr, "/dev/fuse") || !strings.Contains(out.stderr, "--no-mount") {
		t.Errorf("without /dev/fuse: %v", out)
	}
}

func TestBadDayNoPrivilege(t *testing.T) {
	needMount(t)
	o := site(t)
	if err := os.Chmod(filepath.Dir(o.Mount), 0o777); err != nil {
		t.Fatal(err)
	}
	out := as(t, 10001, nil, "exec "+o.Binary+" monitor --mount "+o.Mount+" --state "+o.State)
	if out.code == 0 || !strings.Contains(out.stderr, "root") {
		t.Errorf("without privilege: %v", out)
	}
}

// TestBadDayRegistryDamaged: the registry's file is unreadable; what was good before is served all the same, and it is said
// what to do.
func TestBadDayRegistryDamaged(t *testing.T) {
	const name = "config.manageddata.bad.damaged"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo good > config/"+name)
	stop(t, m)
	file := filepath.Join(o.State, "registry.db")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("garbage!"), int(info.Size()/8)), 0o600); err != nil {
		t.Fatal(err)
	}

	o.Unready = true
	m = startMonitor(t, o)
	path := m.Path("config", name)
	eventually(t, "the last good version is served", func() bool {
		content, err := os.ReadFile(path)
		return err == nil && string(content) == "good\n"
	})
	eventually(t, "the log names the file and says what to do", func() bool {
		return strings.Contains(m.Log(), file) && strings.Contains(m.Log(), "damaged")
	})
	if out := shell(t, m, "echo new > config/"+name); out.code == 0 || !strings.Contains(out.stderr, "No route to host") {
		t.Errorf("a write without a registry: %v", out)
	}
	if out := result(t, m.Command(t.Context(), "status")); !strings.Contains(out.stdout+out.stderr, file+" is damaged") {
		t.Errorf("status does not say it: %v", out)
	}
	if got := read(t, path); got != "good\n" {
		t.Errorf("in the end the file holds %q", got)
	}
}

// TestBadDayBodyCorrupted: a body that changed on disk is found, put aside and fetched again; no reader sees it.
func TestBadDayBodyCorrupted(t *testing.T) {
	const name = "config.manageddata.bad.corrupted"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(1), 0o644); err != nil {
		t.Fatal(err)
	}
	stop(t, m)
	bodies, err := filepath.Glob(filepath.Join(o.State, "bodies/*"))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for _, body := range bodies {
		content, err := os.ReadFile(body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bodyNumber(content); err != nil {
			continue
		}
		file, err := os.OpenFile(body, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte("X"), 100_000); err != nil {
			t.Fatal(err)
		}
		file.Close()
		spoiled++
	}
	if spoiled == 0 {
		t.Fatalf("none of %d bodies is ours", len(bodies))
	}

	m = startMonitor(t, o)
	eventually(t, "the good content is served again", func() bool {
		content, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		if n, err := bodyNumber(content); err != nil || n != 1 {
			t.Fatalf("a reader saw what was corrupted: %d, %v", n, err)
		}
		return true
	})
	if aside, err := os.ReadDir(filepath.Join(o.State, "quarantine")); err != nil || len(aside) == 0 {
		t.Errorf("quarantine holds %d bodies, %v", len(aside), err)
	}
	if !strings.Contains(m.Log(), name) {
		t.Errorf("the log does not name it:\n%s", m.Log())
	}
}

func TestBadDayBodyTooLarge(t *testing.T) {
	const name = "config.manageddata.bad.large"
	m := monitor(t, "--max-body", "64KiB")
	kingpin(t, m, "create", name)
	succeed(t, m, "echo small > config/"+name)
	if out := shell(t, m, "head -c 70000 /dev/zero > config/"+name); out.code == 0 || !strings.Contains(out.stderr, "File too large") {
		t.Errorf("70,000 bytes: %v", out)
	}
	if got := read(t, m.Path("config", name)); got != "small\n" {
		t.Errorf("the file holds %d bytes", len(got))
	}
	if why := read(t, m.Path(".error/config", name)); !strings.Contains(why, "65536") {
		t.Errorf(".error says %q", why)
	}
	put := result(t, exec.CommandContext(t.Context(), "sh", "-c",
		"head -c 70000 /dev/zero | "+m.binary+" put --mount "+m.Mount+" "+name+" -"))
	if put.code != 3 {
		t.Errorf("kingpin put: %v", put)
	}
	succeed(t, m, "head -c 65536 /dev/zero > config/"+name)
	if _, err := os.Stat(m.Path(".error/config", name)); !os.IsNotExist(err) {
		t.Errorf("a good write left the error of the one before: %v", err)
	}
}

// TestBadDayMalformedNames: what is no name is refused or stays private, and the nearest name is offered.
func TestBadDayMalformedNames(t *testing.T) {
	const name = "config.manageddata.bad.spelling"
	m := monitor(t, "--create-by-write=false")
	kingpin(t, m, "create", name)
	typo := strings.Replace(name, "spelling", "speling", 1)
	if out := shell(t, m, "echo x > config/"+typo); out.code == 0 || !strings.Contains(out.stderr, "Operation not permitted") {
		t.Errorf("a typo: %v", out)
	}
	if why := read(t, m.Path(".error/config", typo)); !strings.Contains(why, name) || !strings.Contains(why, "kingpin create") {
		t.Errorf(".error says %q", why)
	}
	for _, word := range []string{"config..two", "nonsense", "config.", "config.a/b", "discovery.short", "web.DEP", strings.Repeat("config.a", 60)} {
		if out := result(t, m.Command(t.Context(), "create", word)); out.code != 2 && out.code != 3 || out.stderr == "" {
			t.Errorf("create %q: %v", word, out)
		}
	}
	for _, line := range []string{"ln -s ../config/config.does.not.exist base.dep/", "ln -s /etc/passwd base.dep/passwd", "mkdir nonsense", "touch rootfile"} {
		if out := shell(t, m, line); out.code == 0 {
			t.Errorf("%s: %v", line, out)
		}
	}
	if got := succeed(t, m, "ls"); strings.Contains(got, "nonsense") || strings.Contains(got, "rootfile") {
		t.Errorf("the root shows %q", got)
	}
}

// TestBadDayNoSpace: a full disk keeps the old version and says so, and when there is space again writing works again.
func TestBadDayNoSpace(t *testing.T) {
	needMount(t)
	const name = "config.manageddata.bad.full"
	o := site(t)
	if err := os.Mkdir(o.State, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", o.State, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the monitor's own
		if err := unix.Unmount(o.State, 0); err != nil {
			t.Error(err)
		}
	})
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(1), 0o644); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(o.State, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 16<<20), 0o600) // until nothing is left
	err := os.WriteFile(path, numberedBody(2), 0o644)
	if err == nil {
		t.Error("a write without space succeeded")
	}
	t.Logf("a write without space says: %v", err)
	if n, err := bodyNumber([]byte(read(t, path))); err != nil || n != 1 {
		t.Errorf("without space the file shows %d: %v", n, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writing works again", func() bool { return os.WriteFile(path, numberedBody(3), 0o644) == nil })
	if n, err := bodyNumber([]byte(read(t, path))); err != nil || n != 3 {
		t.Errorf("in the end the file shows %d: %v", n, err)
	}
}

// TestBadDayUnmountedByHand: somebody takes the mount away; the monitor says so and ends, and the next one starts as usual.
func TestBadDayUnmountedByHand(t *testing.T) {
	o := site(t)
	m := startMonitor(t, o)
	eventually(t, "nobody uses the mount just now", func() bool { // as the look whether the server lives does, for a moment
		err := unix.Unmount(o.Mount, 0)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		return err == nil
	})
	code, err := m.Wait(within(t))
	if err != nil || code == 0 || !strings.Contains(m.Log(), "unmounted") {
		t.Errorf("exit code %d, %v:\n%s", code, err, m.Log())
	}
	startMonitor(t, o)
}

// TestBadDayConfigurationFile: a mistake in the configuration is named with its line, before anything is mounted.
func TestBadDayConfigurationFile(t *testing.T) {
	o := site(t)
	file := filepath.Join(filepath.Dir(o.Mount), "kingpin.conf")
	if err := os.WriteFile(file, []byte("# ours\ndependancy = web.dep\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Flags = []string{"--config", file}
	refusedStart(t, o, 2, file+":2", "dependancy", "dependency")
}
