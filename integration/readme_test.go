package integration

import (
	"context"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeTour: `make run`, and then the tour of the README typed line by line in another shell, prints what the README shows.
func TestReadmeTour(t *testing.T) {
	needMount(t)
	needProgram(t, "make", "inotifywait", "python3")
	readme := read(t, filepath.Join(repository(t), "README.md"))
	sections := transcripts(section(readme, "Five minutes"))
	if len(sections) < 5 || sections[0][0].command != "make run" {
		t.Fatalf("the tour has %d transcripts, or does not begin with make run", len(sections))
	}
	r := makeRun(t, sections[0][0].output)
	here := func(line string) string { return r.here.Replace(line) }
	s := newSession(t, repository(t), os.Environ())
	s.run(t, "export KINGPIN_MOUNT="+r.mount+" KINGPIN_STATE="+r.state)
	for _, steps := range sections[1:] {
		for _, step := range steps {
			s.follow(t, step, here)
		}
	}
}

// run is a `make run` on directories of a test.
type run struct {
	mount, state string
	here         *strings.Replacer // of what stands in the README
	out          *transcript
}

// makeRun starts make run and compares what it prints; the test's end is Ctrl-C.
func makeRun(t *testing.T, prints []string) run {
	t.Helper()
	dir := directory(t)
	r := run{mount: filepath.Join(dir, "m"), state: filepath.Join(dir, "s"), out: &transcript{}}
	sudo := "sudo "
	if os.Geteuid() == 0 {
		sudo = ""
	}
	r.here = strings.NewReplacer("/var/kingpin", r.mount, ".state", r.state, "/tmp/", dir+"/", "sudo ", sudo, "group ann", "group root",
		"--publish-group root", "--publish-group root --mount "+r.mount, "; bin/kingpin status", "; bin/kingpin status --mount "+r.mount)
	cmd := exec.Command("make", "--no-print-directory", "run", "MOUNT="+r.mount, "STATE="+r.state)
	cmd.Dir, cmd.Stdout, cmd.Stderr = repository(t), r.out, r.out
	cmd.Env = append(os.Environ(), "KINGPIN_ADMIN=127.0.0.1:0") // somebody may have the one that is for the whole machine
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // as the terminal does: to make and to the monitor
		select {
		case <-ended:
		case <-time.After(stopLimit):
			t.Errorf("make run goes on after Ctrl-C:\n%s", r.out)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if mounts, err := Mounts(r.mount); err != nil || len(mounts) > 0 {
			t.Errorf("after Ctrl-C: %v %v", mounts, err)
		}
		if t.Failed() {
			t.Logf("make run printed last:\n%s", tail(r.out.String()))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), watchdog) // it builds
	defer cancel()
	last := normal(r.here.Replace(prints[len(prints)-1]))
	for tick := time.NewTicker(20 * time.Millisecond); !strings.Contains(normal(r.out.String()), last); {
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			t.Fatalf("make run ended: %v\n%s", err, r.out)
		case <-ctx.Done():
			t.Fatalf("make run did not print %q:\n%s", last, r.out)
		}
	}
	rest := r.out.String()
	for _, line := range prints { // between them stand the lines of its log
		want := normal(r.here.Replace(line))
		found := false
		for l := range strings.Lines(rest) {
			if found = found || normal(l) == want; found {
				break
			}
		}
		if !found {
			t.Errorf("make run did not print %q:\n%s", want, r.out)
		}
	}
	return r
}

// TestReadmeRefusals: the lines that people see when something is refused are those of the README's table.
func TestReadmeRefusals(t *testing.T) {
	needMount(t)
	m := monitor(t, "--demo")
	dir := directory(t)
	for name, content := range map[string]string{"not.json": `{"hello": }`, "good.json": `{"hello": "there"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	here := strings.NewReplacer("/tmp/", dir+"/")
	table := section(read(t, filepath.Join(repository(t), "README.md")), "When something is refused")
	table, _, _ = strings.Cut(table, "| when |")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(table, -1)
	if len(rows) < 8 {
		t.Fatalf("only %d rows", len(rows))
	}
	s := newSession(t, m.Path("config"), m.Env())
	s.run(t, "f=config.manageddata.demo.greeting")
	for _, row := range rows {
		printed := s.run(t, here.Replace(strings.ReplaceAll(row[1], `\|`, "|")))
		if len(printed) == 0 || normal(printed[0]) != normal(row[2]) {
			t.Errorf("%s\nprints %q\nnot    %q", row[1], printed, row[2])
		}
	}
	if got := read(t, m.Path("config/config.manageddata.demo.greeting")); got != "{\"hello\": \"world\"}\n" {
		t.Errorf("in the end the file holds %q", got)
	}
}

// TestReadmeLinks: what the README points at is there.
func TestReadmeLinks(t *testing.T) {
	readme := read(t, filepath.Join(repository(t), "README.md"))
	readme = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(readme, "") // generics look like links
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(readme, -1) {
		switch target := link[1]; {
		case strings.HasPrefix(target, "https://"):
		case strings.HasPrefix(target, "#"):
			heading := strings.ReplaceAll(strings.TrimPrefix(target, "#"), "-", " ")
			if !strings.Contains(strings.ToLower(strings.ReplaceAll(readme, ",", "")), "\n## "+heading+"\n") {
				t.Errorf("no heading %q", heading)
			}
		default:
			target, _, _ = strings.Cut(target, "#")
			if _, err := os.Stat(filepath.Join(repository(t), target)); err != nil {
				t.Error(err)
			}
		}
	}
}

// section is the part of a document below a heading of the second level.
func section(document, heading string) string {
	_, after, _ := strings.Cut(document, "\n## "+heading+"\n")
	text, _, _ := strings.Cut(after, "\n## ")
	return text
}

// TestReadmeProgramCompiles: what somebody copies from the page.
func TestReadmeProgramCompiles(t *testing.T) {
	text := section(read(t, filepath.Join(repository(t), "README.md")), "In Go, and in other languages")
	_, program, ok := strings.Cut(text, "```go\n")
	program, _, closed := strings.Cut(program, "```")
	if !ok || !closed {
		t.Fatalf("there is no program in the section: %.200q", text)
	}
	file := filepath.Join(directory(t), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", file)
	vet.Dir = repository(t)
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("it is not formatted: %v", err)
	}
}
