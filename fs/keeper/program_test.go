package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A package manager replaces the file, by a bad one.
func TestServerThatDiesIsFollowedByTheSameProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "kingpin")
	if os.Link(self, binary) != nil { // another file system
		text, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(binary, text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := newMonitor(t, "BINARY="+binary)
	server := m.serving(1)
	if err := os.WriteFile(binary+".new", []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(binary+".new", binary); err != nil {
		t.Fatal(err)
	}
	unix.Kill(server, unix.SIGKILL)
	server = m.serving(2)
	m.upgrade(patience, "")
	m.says("ended before it was prepared: exit status 1")
	unix.Kill(server, unix.SIGKILL)
	server = m.serving(3)
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	unix.Kill(server, unix.SIGKILL)
	poker := m.poker()
	unix.Kill(poker, unix.SIGKILL)
	for _, pid := range []int{m.serving(4), m.poker(poker)} {
		eventually(t, "it has its name", func() bool {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			return strings.TrimSpace(string(name)) == "kingpin"
		})
	}
	m.cat(t)
}
