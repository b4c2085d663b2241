package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is what the outside world is given for anything that should happen at once: the machine may be busy.
const patience = time.Minute

// watchdog is when a test that still waits for its mount is freed by force.
const watchdog = 10 * time.Minute

// scratch holds the binary, every mount and every state directory of this run. Its name is short: the path of a socket has
// at most 108 bytes.
var scratch string

// roles are what this test binary does when it is started again by a test, with the role in the environment.
var roles = map[string]func(args []string) error{
	"read":        readRole,
	"write":       writeRole,
	"hold":        holdRole,
	"library":     libraryRole,
	"watch":       watchRole,
	"interrupted": interruptedRole,
}

const roleVariable = "KINGPIN_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "k"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Chmod(scratch, 0o755); err != nil { // other users come here too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // else each command waits a second for other races
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := Unmount(scratch); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	return code
}

// binary is built once, when the first test asks for it.
var binary = sync.OnceValues(func() (string, error) {
	return Build(context.Background(), scratch, os.Getenv("KINGPIN_RACE") != "")
})

func kingpinBinary(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips a test that the machine cannot run, aloud; where everything is required that is a failure.
func need(t *testing.T, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("KINGPIN_REQUIRE") == "all":
		t.Fatalf("this needs %s, and KINGPIN_REQUIRE=all", what)
	default:
		t.Skipf("this needs %s", what)
	}
}

// needProgram is need for a command.
func needProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		need(t, "the program "+name, err == nil)
	}
}

func needMount(t *testing.T) {
	t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		device.Close()
	}
	need(t, "root and /dev/fuse", err == nil && os.Geteuid() == 0)
}

func repository(t *testing.T) string {
	t.Helper()
	root, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// directory makes one with a short name that goes with the test.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Unmount(dir); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// site makes the two directories of a monitor.
func site(t *testing.T) Options {
	t.Helper()
	dir := directory(t)
	o := Options{Binary: kingpinBinary(t), Mount: filepath.Join(dir, "m"), State: filepath.Join(dir, "s")}
	if err := os.Mkdir(o.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	return o
}

// monitor starts one on directories of its own.
func monitor(t *testing.T, flags ...string) *Monitor {
	t.Helper()
	o := site(t)
	o.Flags = flags
	return startMonitor(t, o)
}

// startMonitor starts one, sees to it that nothing of it is left when the test is over, and that the test does get over.
func startMonitor(t *testing.T, o Options) *Monitor {
	t.Helper()
	needMount(t)
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	limit := watchdog
	if rounds(0, 1) > 0 { // there is time
		limit = time.Hour
	}
	if deadline, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(deadline)*9/10)
	}
	dog := time.AfterFunc(limit, func() {
		t.Errorf("this took longer than %v: the connection of %s is aborted", limit, m.Mount)
		m.Abort()
	})
	t.Cleanup(func() {
		dog.Stop()
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the monitor said last:\n%s", tail(m.Log()))
		}
	})
	return m
}

// tail is the end of a log, which is where the reason is.
func tail(log string) string {
	const most = 40
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

// stop ends a monitor in the middle of a test.
func stop(t *testing.T, m *Monitor) {
	t.Helper()
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
}

// crash kills a monitor in the middle of a test.
func crash(t *testing.T, m *Monitor) {
	t.Helper()
	if err := m.Crash(); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a command did.
type outcome struct {
	stdout, stderr string
	code           int
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", o.code, o.stdout, o.stderr)
}

// result runs a command to its end.
func result(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// kingpin runs the command line against m and wants it to succeed; it returns what it printed.
func kingpin(t *testing.T, m *Monitor, args ...string) string {
	t.Helper()
	o := result(t, m.Command(t.Context(), args...))
	if o.code != 0 {
		t.Fatalf("kingpin %s: %v", strings.Join(args, " "), o)
	}
	return o.stdout
}

// shell runs one line of shell in the mount's root and says what it did.
func shell(t *testing.T, m *Monitor, line string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Env = m.Mount, append(m.Env(), "LC_ALL=C")
	return result(t, cmd)
}

// succeed runs one line of shell that has to.
func succeed(t *testing.T, m *Monitor, line string) string {
	t.Helper()
	o := shell(t, m, line)
	if o.code != 0 {
		t.Fatalf("%s: %v", line, o)
	}
	return o.stdout
}

// read is the content of a file, without which the test makes no sense.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// eventually waits until a claim about the outside world holds.
func eventually(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, claim)
		}
	}
}

// role starts this binary again as a process of its own, to do what must not be done in this one.
func role(ctx context.Context, t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	return cmd
}
