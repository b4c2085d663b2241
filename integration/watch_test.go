package integration

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// watch is an inotifywait that runs until the test is over.
type watch struct {
	what  string
	lines chan string
}

// inotifywait starts one and returns when its watches are there. Each event is a line in the given format.
func inotifywait(t *testing.T, format, events string, paths ...string) *watch {
	t.Helper()
	needProgram(t, "inotifywait")
	args := []string{"-m", "--format", format}
	for e := range strings.SplitSeq(events, ",") {
		args = append(args, "-e", e)
	}
	cmd := exec.CommandContext(t.Context(), "inotifywait", append(args, paths...)...)
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
	w := &watch{what: "inotifywait " + strings.Join(paths, " "), lines: make(chan string, 1<<16)}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	established := make(chan bool, 1)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if strings.Contains(s.Text(), "established") {
				established <- true
			}
		}
	}()
	go func() {
		defer close(done)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	select {
	case <-established:
	case <-time.After(patience):
		t.Fatalf("%s: no watch after %v", w.what, patience)
	}
	return w
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
