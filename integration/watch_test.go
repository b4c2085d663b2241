package integration

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// watch is a program that prints a line for each event, and runs until the test is over.
type watch struct {
	what  string
	cmd   *exec.Cmd
	lines chan string
	done  chan struct{} // closed when it has closed its stdout

	established atomic.Int64 // how often it has said that it watches
}

// inotifywait starts one and returns when its watches are there. Each event is a line in the given format.
func inotifywait(t *testing.T, format, events string, paths ...string) *watch {
	t.Helper()
	needProgram(t, "inotifywait")
	args := []string{"-m", "--format", format}
	for e := range strings.SplitSeq(events, ",") {
		args = append(args, "-e", e)
	}
	return startWatch(t, exec.Command("inotifywait", append(args, paths...)...), "established")
}

// startWatch starts a program and returns when it has said, on stderr, that it watches.
func startWatch(t *testing.T, cmd *exec.Cmd, established string) *watch {
	t.Helper()
	w := &watch{what: strings.Join(cmd.Args, " "), cmd: cmd, lines: make(chan string, 1<<16), done: make(chan struct{})}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.stop(t, os.Kill)
	})
	watches, said := make(chan struct{}), &transcript{}
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if strings.Contains(s.Text(), established) && w.established.Add(1) == 1 {
				close(watches)
			}
			_, _ = said.Write(append(s.Bytes(), '\n'))
		}
	}()
	go func() {
		defer close(w.done)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	select {
	case <-watches:
	case <-time.After(patience):
		t.Fatalf("%s: no watch after %v:\n%s", w.what, patience, said)
	}
	return w
}

// stop ends the program by a signal and returns its exit code; the second time, the same.
func (w *watch) stop(t *testing.T, s os.Signal) int {
	t.Helper()
	_ = w.cmd.Process.Signal(s)
	select {
	case <-w.done:
	case <-time.After(patience):
		t.Errorf("%s: %v does not end it", w.what, s)
		_ = w.cmd.Process.Kill()
		<-w.done
	}
	_ = w.cmd.Wait() // also of one that has been waited for
	return w.cmd.ProcessState.ExitCode()
}

// next waits for an event.
func (w *watch) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-w.lines:
		return line
	case <-time.After(patience):
		t.Fatalf("%s: no event within %v", w.what, patience)
		return ""
	}
}

// until waits for the event that is line and returns those that came before it.
func (w *watch) until(t *testing.T, line string) []string {
	t.Helper()
	var before []string
	deadline := time.After(patience)
	for {
		select {
		case got := <-w.lines:
			if got == line {
				return before
			}
			before = append(before, got)
		case <-deadline:
			t.Fatalf("%s: no %q within %v, only %q", w.what, line, patience, before)
		}
	}
}
