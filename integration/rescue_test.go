package integration

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// rescue runs what the unit file has as ExecStopPost=.
func rescue(t *testing.T, m *Monitor) {
	t.Helper()
	if out := result(t, m.Command(t.Context(), "monitor", "--rescue")); out.code != 0 {
		t.Errorf("kingpin monitor --rescue: %v", out)
	}
}

// TestRescueShowsThePlainFiles: when keeper, server and poker were killed at once, the path shows the last good files, read only,
// from the rescue on, and the next monitor mounts over that.
func TestRescueShowsThePlainFiles(t *testing.T) {
	const name = "config.manageddata.rescue.files"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo good > config/"+name)
	path := m.Path("config", name)
	crash(t, m)
	if _, err := os.ReadFile(path); err == nil {
		t.Fatal("the mount lives on without a monitor, so that there is nothing to rescue")
	}

	rescue(t, m)
	if got := read(t, path); got != "good\n" {
		t.Errorf("after the rescue the file holds %q", got)
	}
	if err := os.WriteFile(path, []byte("nobody hears of this\n"), 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a write to the plain file: %v", err)
	}
	mounts, err := Mounts(o.Mount)
	if err != nil {
		t.Fatal(err)
	}
	rescue(t, m)
	if again, err := Mounts(o.Mount); err != nil || len(again) != len(mounts) {
		t.Errorf("a second rescue made %v of %v: %v", again, mounts, err)
	}

	m = startMonitor(t, o)
	if got := read(t, path); got != "good\n" {
		t.Errorf("the next monitor shows %q", got)
	}
	succeed(t, m, "echo better > config/"+name)
	if got := read(t, filepath.Join(o.State, "files/config", name)); got != "better\n" {
		t.Errorf("the plain file holds %q", got)
	}
	stop(t, m)
}

// TestRescueWhereNothingIsDead: a rescue beside a monitor that lives, or after a clean stop, changes nothing.
func TestRescueWhereNothingIsDead(t *testing.T) {
	o := site(t)
	o.Flags = []string{"--demo"}
	m := startMonitor(t, o)
	before, err := Mounts(o.Mount)
	if err != nil {
		t.Fatal(err)
	}
	rescue(t, m)
	if after, err := Mounts(o.Mount); err != nil || len(after) != len(before) {
		t.Errorf("beside a monitor that lives: %v were %v, %v", after, before, err)
	}
	succeed(t, m, `echo '{"hello": "rescue"}' > config/config.manageddata.demo.greeting`)
	stop(t, m)
	rescue(t, m)
	if after, err := Mounts(o.Mount); err != nil || len(after) != 0 {
		t.Errorf("after a clean stop: %v, %v", after, err)
	}
}
