package follow_test

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// alone says to this test that it runs in a namespace of its own.
const alone = "KINGPIN_TEST_USER_NAMESPACE"

// TestWithoutInotify: a user has 128 instances and some thousand watches, and others may have taken them all.
func TestWithoutInotify(t *testing.T) {
	if os.Getenv(alone) == "" {
		c := exec.Command("/proc/self/exe", "-test.run=^TestWithoutInotify$", "-test.v")
		c.Env = append(os.Environ(), alone+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := c.CombinedOutput()
		if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
			t.Skip("a user namespace needs root here")
		}
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	for _, limit := range []string{"instances", "watches"} {
		t.Run(limit, func(t *testing.T) { followDeaf(t, "/proc/sys/user/max_inotify_"+limit) })
	}
}

func followDeaf(t *testing.T, limit string) {
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	write(t, limit, "0")
	defer write(t, limit, string(before))
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var lines logged
	f := open(t, path, follow.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	replace(t, path, "one")
	eventually(t, "it is seen although nobody tells", holds(f, "one"))
	for _, content := range []string{"two", "three"} {
		replace(t, path, content)
		eventually(t, "the change is seen although nobody tells", holds(f, content))
	}
	if n := lines.count("no inotify watch"); n != 1 {
		t.Errorf("%d lines say that nobody tells", n)
	}
	write(t, limit, string(before))
	replace(t, path, "four")
	eventually(t, "events have come back", holds(f, "four"))
}
