package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
)

// Options say how a monitor is started. Binary and State are required, and Mount unless Plain.
type Options struct {
	Binary       string   // built by Build
	Mount, State string   // directories; the mount point has to exist
	Plain        bool     // --no-mount: the tree is the plain one in State
	Flags        []string // more flags of kingpin monitor
	Env          []string // more of the environment
	Unready      bool     // return when the process has been started, do not wait until it serves
	Log          io.Writer
}

// Monitor is a running kingpin monitor and the tree it keeps.
type Monitor struct {
	Mount, State string // Mount is where the tree is, also if it is the plain one

	binary string
	env    []string
	cmd    *exec.Cmd
	log    *transcript
	exited chan struct{}
	status error // of the process; read after exited is closed
}

// stopLimit is how long a monitor may take to unmount and end after SIGTERM: a publish deadline, and some for a busy machine.
const stopLimit = time.Minute

// Start runs a monitor and returns when it is ready. One that ends before is an error with its last words.
func Start(ctx context.Context, o Options) (*Monitor, error) {
	where := []string{"--mount", o.Mount}
	if o.Plain {
		o.Mount = filepath.Join(o.State, "files")
		where = []string{"--no-mount"}
	}
	m := &Monitor{
		Mount: o.Mount, State: o.State,
		binary: o.Binary,
		env: slices.Concat(os.Environ(), []string{"KINGPIN_MOUNT=" + o.Mount, "KINGPIN_STATE=" + o.State, "KINGPIN_ADMIN=off",
			"KINGPIN_MAX_VERSIONS_PER_MINUTE=0"}, o.Env),
		log:    &transcript{also: o.Log},
		exited: make(chan struct{}),
	}
	m.cmd = exec.Command(o.Binary, slices.Concat([]string{"monitor", "--state", o.State}, where, o.Flags)...)
	m.cmd.Env, m.cmd.Stdout, m.cmd.Stderr = append(slices.Clip(m.env), m.mark()), m.log, m.log
	// Whatever ends this process ends the monitor, and Ctrl-C in the terminal is for this process to pass on.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	m.cmd.WaitDelay = stopLimit // a child that outlives the keeper holds its stderr
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		m.status = m.cmd.Wait()
		close(m.exited)
	}()
	if o.Unready {
		return m, nil
	}
	if err := m.Ready(ctx); err != nil {
		m.Abort()
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// readyLimit is how long a monitor may take until it serves, on a busy machine.
const readyLimit = 2 * time.Minute

// Ready waits, by kingpin wait as everybody does, until the monitor serves.
func (m *Monitor) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*readyLimit)
	defer cancel()
	waited := make(chan error, 1)
	go func() {
		wait := exec.CommandContext(ctx, m.binary, "wait", "--mount", m.Mount, "--timeout", readyLimit.String())
		wait.Env = m.env
		out, err := wait.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("kingpin wait: %w\n%s", err, out)
		}
		waited <- err
	}()
	select {
	case err := <-waited:
		if err != nil {
			return fmt.Errorf("%w\nthe monitor said:\n%s", err, m.Log())
		}
		return nil
	case <-m.exited:
		cancel()
		<-waited
		return fmt.Errorf("the monitor ended (%v) before it was ready:\n%s", m.status, m.Log())
	}
}

// Stop ends the monitor by SIGTERM, as a service manager does, and says what was not as it should be: an exit status, a
// mount or a process left behind, a race or a panic on the way. The second call returns nil.
func (m *Monitor) Stop() error {
	select {
	case <-m.exited:
		return m.aftermath()
	default:
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-m.exited:
	case <-time.After(stopLimit):
		err := fmt.Errorf("the monitor did not end within %v of SIGTERM:\n%s", stopLimit, m.Log())
		m.Abort()
		return errors.Join(err, m.Crash(), m.aftermath())
	}
	if m.status != nil {
		return errors.Join(fmt.Errorf("the monitor ended with %w:\n%s", m.status, m.Log()), m.aftermath())
	}
	return m.aftermath()
}

// Wait returns when the monitor has ended, by itself or by somebody's hand, with its exit code.
func (m *Monitor) Wait(ctx context.Context) (int, error) {
	select {
	case <-m.exited:
		return m.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("the monitor goes on: %w\n%s", ctx.Err(), m.Log())
	}
}

// Crash ends keeper, server and poker at once, as a power cut would, and leaves the mount dead behind them.
func (m *Monitor) Crash() error {
	var all []int
	for end := time.Now().Add(stopLimit); ; {
		left := m.Processes()
		all = append(all, left...)
		if len(left) == 0 { // they have no memory any more, but they may have open files and locks
			left = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(all))), dead)
		}
		if len(left) == 0 {
			<-m.exited
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not even SIGKILL ends %v", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // some end with the keeper before their turn comes
		}
		time.Sleep(time.Millisecond)
	}
}

// aftermath is what a monitor must not leave behind, and cleans it up.
func (m *Monitor) aftermath() error {
	var errs []error
	for _, word := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(m.Log(), word) {
			errs = append(errs, fmt.Errorf("the monitor said %q:\n%s", word, m.Log()))
		}
	}
	if left := m.Processes(); len(left) > 0 {
		errs = append(errs, fmt.Errorf("processes left behind: %v", left))
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := Unmount(m.Mount); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Pid is the keeper's, the process that was started.
func (m *Monitor) Pid() int { return m.cmd.Process.Pid }

// Server is the pid of the process that serves the mount now.
func (m *Monitor) Server() (int, error) {
	text, err := os.ReadFile(filepath.Join(m.Mount, ".status/pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Processes are keeper, server and poker, as far as they live. They are known by a word in the environment that the harness
// gives to no other process, so those whose parent has died are found too.
func (m *Monitor) Processes() []int {
	var found []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		environment, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), m.mark()) {
			continue // also one that ended while we looked, or has ended and was not reaped
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// dead says whether a process that was killed has let go of everything, reaped or not: all of its threads have ended.
func dead(pid int) bool { return strings.Trim(server.ThreadStates(pid), "ZX") == "" }

func (m *Monitor) mark() string { return "MONITOR_OF=" + m.State }

// Log is what the monitor has written so far.
func (m *Monitor) Log() string { return m.log.String() }

// Command prepares kingpin with arguments, for this monitor.
func (m *Monitor) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.binary, args...)
	cmd.Env = m.env
	return cmd
}

// Env is the environment for programs that use this monitor; kingpin itself is the first of its PATH.
func (m *Monitor) Env() []string {
	return append(slices.Clip(m.env), "PATH="+filepath.Dir(m.binary)+":"+os.Getenv("PATH"))
}

// Path is where the mount shows dir/name, or dir alone.
func (m *Monitor) Path(elem ...string) string {
	return filepath.Join(append([]string{m.Mount}, elem...)...)
}

// transcript collects what a process writes and may be read meanwhile.
type transcript struct {
	also io.Writer // written to as well, unless nil

	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.text.Write(p)
	t.mu.Unlock()
	if t.also != nil {
		return t.also.Write(p)
	}
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
