package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// step is a command of a transcript and the lines it prints.
type step struct {
	command string
	output  []string
}

// transcripts are the fenced console blocks of a document, one slice of steps each.
func transcripts(document string) [][]step {
	var all [][]step
	inside := false
	for line := range strings.Lines(document) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```console":
			inside = true
			all = append(all, nil)
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && strings.HasPrefix(line, "$ "):
			command, _, _ := strings.Cut(line[2:], "   #") // a remark to the reader
			all[len(all)-1] = append(all[len(all)-1], step{command: strings.TrimSpace(command)})
		case inside && len(all[len(all)-1]) > 0:
			steps := all[len(all)-1]
			last := &steps[len(steps)-1]
			last.output = append(last.output, line)
		}
	}
	return all
}

// differing is what no two runs have in common; a transcript shows one of the possible values.
var differing = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\d{10}\.\d{9}`), "VERSION"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "CHECKSUM"},
	{regexp.MustCompile(`\b[\w.-]+@[\w.-]+`), "AUTHOR"},
	{regexp.MustCompile(`\b[\w-]+ \(uid \d+\)`), "USER"},
	{regexp.MustCompile(`\bpid \d+`), "pid N"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(µs|ms|s|m|h|d)\b`), "AGE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+/metrics`), "ADDRESS/metrics"},
	{regexp.MustCompile(`kingpin (\d|v\d|devel)\S*`), "kingpin N"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func normal(line string) string {
	for _, d := range differing {
		line = d.pattern.ReplaceAllString(line, d.stands)
	}
	return strings.TrimSpace(line)
}

// session is a shell somebody types into.
type session struct {
	stdin io.WriteCloser
	lines chan string
	count int
}

// jobLine is how an interactive shell announces a background job.
var jobLine = regexp.MustCompile(`^\[\d+\]([+-]? .*)?$`)

// newSession starts an interactive shell: its error messages are those that people see.
func newSession(t *testing.T, dir string, env []string) *session {
	t.Helper()
	// Without the test's context, which ends before its clean-up: a shell that was killed does not end its jobs.
	cmd := exec.Command("bash", "--norc", "--noprofile", "--noediting", "-i")
	cmd.Dir, cmd.Env = dir, append(env, "PS1=", "PS2=", "LC_ALL=C.UTF-8", "TERM=dumb", "HISTFILE=")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &session{stdin: stdin, lines: make(chan string, 1<<12)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		fmt.Fprintln(stdin, "kill $(jobs -p) 2>/dev/null; exit")
		stdin.Close()
		<-done
		_ = cmd.Wait()
	})
	s.run(t, ":") // whatever the shell says in the beginning
	return s
}

// run types a line and returns what is printed until the shell is ready for the next one.
func (s *session) run(t *testing.T, line string) []string {
	t.Helper()
	s.count++
	end := fmt.Sprintf("end of command %d", s.count)
	fmt.Fprintf(s.stdin, "%s\necho; echo %s\n", line, end)
	var printed []string
	for deadline := time.After(patience); ; {
		select {
		case got := <-s.lines:
			if got == end {
				if n := len(printed); n > 0 && printed[n-1] == "" {
					printed = printed[:n-1] // of the first echo, for output that ends within a line
				}
				return printed
			}
			if !jobLine.MatchString(got) {
				printed = append(printed, got)
			}
		case <-deadline:
			t.Fatalf("%s: not done after %v; printed so far:\n%s", line, patience, strings.Join(printed, "\n"))
		}
	}
}

// late waits for a line of a background job.
func (s *session) late(t *testing.T) string {
	t.Helper()
	for {
		select {
		case got := <-s.lines:
			if !jobLine.MatchString(got) {
				return got
			}
		case <-time.After(patience):
			t.Fatalf("nothing was printed within %v", patience)
		}
	}
}

// settling is a question whose answer comes to be what it is a moment after what was typed before.
var settling = regexp.MustCompile(`^cat \.\./serverset/|^kingpin status`)

// follow types a command of a transcript and compares what is printed. What a background job prints may come late, and before or
// after what the command itself prints.
func (s *session) follow(t *testing.T, want step, rename func(string) string) {
	t.Helper()
	blank := func(line string) bool { return line == "" } // one is ours, and what a job prints may come behind it
	printed := slices.DeleteFunc(s.run(t, rename(want.command)), blank)
	want.output = slices.DeleteFunc(slices.Clone(want.output), blank)
	if settling.MatchString(want.command) {
		same := func(shown, printed string) bool { return normal(rename(shown)) == normal(printed) }
		for end := time.Now().Add(patience); !slices.EqualFunc(want.output, printed, same) && time.Now().Before(end); {
			printed = slices.DeleteFunc(s.run(t, rename(want.command)), blank)
		}
	}
	for len(printed) < len(want.output) {
		printed = append(printed, s.late(t))
	}
	missing := map[string]int{}
	for _, line := range want.output {
		missing[normal(rename(line))]++
	}
	for _, line := range printed {
		missing[normal(line)]--
	}
	for line, count := range missing {
		if count != 0 {
			t.Errorf("$ %s\nis in the transcript %d times more often than printed: %q\nprinted:\n%s",
				want.command, count, line, strings.Join(printed, "\n"))
		}
	}
	if strings.HasPrefix(want.command, "inotifywait") && strings.HasSuffix(want.command, "&") {
		s.watching(t)
	}
}

// watching waits until the job that was started last has its inotify watch, as a person takes a breath before typing on.
func (s *session) watching(t *testing.T) {
	t.Helper()
	eventually(t, "inotifywait watches", func() bool {
		printed := s.run(t, `grep -l '^inotify wd' /proc/$!/fdinfo/* 2>/dev/null`)
		return len(printed) > 0
	})
}
