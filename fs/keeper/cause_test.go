package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRestartsAreCountedByTheirCause(t *testing.T) {
	m := newMonitor(t)
	unix.Kill(m.serving(1), unix.SIGKILL)
	unix.Kill(m.serving(2), unix.SIGSEGV)
	m.serving(3)
	m.says("server 3: {Crash:2 OOM:0 Hang:0 Upgrade:0}")
}

func TestServerKilledForItsMemoryIsReplacedAndCounted(t *testing.T) {
	need(t)
	m := newMonitor(t, "SERVER_IS_GREEDY=1", "CGROUP="+smallCgroup(t))
	m.serving(1)
	m.serving(2)
	m.cat(t)
	m.says("server 2: {Crash:0 OOM:1 Hang:0 Upgrade:0}")
}

// smallCgroup is one in which a greedy process does not live long.
func smallCgroup(t *testing.T) string {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	const limit = "134217728"
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root, file := "/sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		dir, err := os.MkdirTemp(filepath.Join(root, fields[2]), "keeper-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
		if os.WriteFile(filepath.Join(dir, file), []byte(limit), 0) == nil {
			return dir
		}
	}
	unable(t, "no cgroup for memory can be made here")
	return ""
}

// enterCgroup moves this process to the cgroup that CGROUP names.
func enterCgroup() error {
	dir := os.Getenv("CGROUP")
	if dir == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}
