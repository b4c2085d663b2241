//go:build soak

package integration

import (
	"os"
	"syscall"
	"testing"
	"time"
)

const soaking = true

// TestSoakTornReads is TestTornReads for as long as it takes.
func TestSoakTornReads(t *testing.T) {
	huntTornReads(t, 20_000, time.Hour)
}

// TestSoakServerKilled: the server is killed again and again under four readers. No read fails, and an inotify watch from before
// the first death hears of what is published after the last one.
func TestSoakServerKilled(t *testing.T) {
	const name = "config.manageddata.soak.killed"
	const kills = 200
	m := monitor(t)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(0), 0o644); err != nil {
		t.Fatal(err)
	}
	heard := inotifywait(t, "%w", "close_write", path)
	var readers []*reader
	for mode := range readModes {
		readers = append(readers, startReader(t, path, mode))
	}
	for n := 1; n <= kills; n++ {
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
		if err := os.WriteFile(path, numberedBody(n), 0o644); err != nil {
			t.Fatalf("a write after death %d: %v", n, err)
		}
		heard.next(t)
	}
	for _, r := range readers {
		r.finish(t)
	}
}

// TestSoakUpgrade is TestUpgradeUnderLoad for as long as it takes.
func TestSoakUpgrade(t *testing.T) { upgradeUnderLoad(t, rounds(5, 50)) }

// TestSoakKills is TestUpgradeKillsUnderLoad for as long as it takes.
func TestSoakKills(t *testing.T) { killUnderLoad(t, rounds(5, 200), rounds(5, 50)) }

// TestSoakWatchers is TestWatchersReloadOnce for as long as it takes.
func TestSoakWatchers(t *testing.T) { watchersTable(t, 200, 10) }
