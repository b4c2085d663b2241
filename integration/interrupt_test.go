package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInterruptedWrite: a writer that waits for a registry which does not answer can be interrupted, and ends at once. What came of its
// version can be seen when the registry is back: it is everywhere, or .error/ says why it is nowhere.
func TestInterruptedWrite(t *testing.T) {
	const name = "config.manageddata.interrupted.write"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	kingpin(t, a, "create", name)
	succeed(t, a, "echo one > config/"+name)
	eventually(t, "it has come to the other machine", func() bool { return b.shows("config/"+name, "one\n") })

	started, written := pipe(t), pipe(t)
	cmd := role(t.Context(), t, "interrupted", a.Path("config", name))
	cmd.ExtraFiles = []*os.File{started.write, written.read}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := started.read.Read(make([]byte, 1)); err != nil { // it has opened the file
		t.Fatal(err)
	}
	if err := f.zk.Pause(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(written.write)
	eventually(t, "it waits in close", func() bool { return inSystemCall(cmd.Process.Pid, unix.SYS_CLOSE) })
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		t.Errorf("it was not interrupted, but ended with %v", cmd.ProcessState)
	}
	if err := f.zk.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it can be seen what came of it", func() bool {
		if a.shows("config/"+name, "two\n") && b.shows("config/"+name, "two\n") {
			return true
		}
		why, err := os.ReadFile(a.Path(".error/config", name))
		return err == nil && strings.Contains(string(why), "not published") && a.shows("config/"+name, "one\n") && b.shows("config/"+name, "one\n")
	})
}

// inSystemCall says whether a thread of a process waits in a system call.
func inSystemCall(pid, number int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	for _, thread := range threads {
		if call, err := os.ReadFile(thread); err == nil && strings.HasPrefix(string(call), fmt.Sprintf("%d ", number)) {
			return true
		}
	}
	return false
}

// interruptedRole opens a file, says so, waits for a word, writes and closes it.
func interruptedRole(args []string) error {
	says, hears := os.NewFile(3, "says"), os.NewFile(4, "hears")
	file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	fmt.Fprint(says, ".")
	if _, err := hears.Read(make([]byte, 1)); err != nil {
		return err
	}
	if _, err := file.WriteString("two\n"); err != nil {
		return err
	}
	return file.Close()
}
