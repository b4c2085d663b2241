package keeper

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is the test binary in another part.
type process struct {
	cmd  *exec.Cmd
	born time.Time
	log  *transcript
	in   io.WriteCloser
	done chan struct{}
	err  error
}

// procAttr is what is special about how a process is started.
type procAttr struct {
	attr  *syscall.SysProcAttr // nil: a process group of its own
	files []*os.File           // descriptors from 3 on, of which it is told as systemd does
}

func (a procAttr) apply(cmd *exec.Cmd) {
	if len(a.files) > 0 {
		cmd.ExtraFiles = a.files
		cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0"`}, cmd.Path)
		cmd.Path = "/bin/sh"
	}
	if cmd.SysProcAttr = a.attr; a.attr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
}

func start(t *testing.T, role string, env ...string) *process {
	t.Helper()
	return startWith(t, procAttr{}, role, env...)
}

func startWith(t *testing.T, attr procAttr, role string, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), born: time.Now(), log: new(transcript), done: make(chan struct{})}
	// The race detector sleeps for a second at the end of a process, for the sake of its other threads' reports.
	p.cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")...)
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	attr.apply(p.cmd)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer out.Close()
		io.Copy(p.log, out)
	}()
	go func() {
		p.err = p.cmd.Wait()
		moment := patience
		if !p.cmd.ProcessState.Exited() {
			moment = time.Second // a keeper that was killed leaves children that hold the pipe
		}
		select { // its last words
		case <-read:
		case <-time.After(moment):
		}
		close(p.done)
	}()
	t.Cleanup(func() {
		p.in.Close()
		p.signal(unix.SIGTERM)
		if !p.wait(patience) {
			t.Errorf("%s does not end", role)
			p.signal(unix.SIGKILL)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) { p.cmd.Process.Signal(s) }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) wait(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
		return false
	}
}

// transcript is what a process printed so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// patience is for a machine on which everything takes its time; who reaches it hangs.
const patience = time.Minute

// eventually waits for the outside world.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
