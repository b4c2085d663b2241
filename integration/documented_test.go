package integration

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of the documents anew")

// documented checks that a document shows what a test has found out, between the comments that name it.
func documented(t *testing.T, path, name, found string) {
	t.Helper()
	path = filepath.Join(repository(t), path)
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	document := read(t, path)
	before, rest, ok := strings.Cut(document, begin)
	shown, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no %q", path, begin)
	}
	t.Log(found)
	if shown == found {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+found+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	lines := map[string]bool{}
	for line := range strings.Lines(shown) {
		lines[line] = true
	}
	for line := range strings.Lines(found) {
		if !lines[line] {
			t.Errorf("%s does not show: %s", path, line)
		}
	}
	t.Errorf("%s shows another table of %s; -update writes it", path, name)
}

// code is text as a cell of a table shows it, typed by somebody or printed by a program.
func code(text string) string {
	if text == "" {
		return ""
	}
	text = strings.NewReplacer("|", `\|`, "\n", "; ").Replace(text)
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}

// lastLine is where a program says what is wrong: above it there may be how it came there.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// temporary names differ from run to run.
var temporary = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`: line \d+:`), ":"}, // an interactive shell does not count
	{regexp.MustCompile(`\d{10}[./]\d{9}`), "VERSION"},
	{regexp.MustCompile(`(unreachable|timed out): .*`), "$1"}, // in what way
	{regexp.MustCompile(`S3: (put|get) .*: unreachable`), "S3: unreachable"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "SERVER"},
	{regexp.MustCompile(`\b(\d+m)?\d+m?s\b`), "AGE"},
	{regexp.MustCompile(`\bsed[0-9A-Za-z]{6}\b`), "sedXXXXXX"},
	{regexp.MustCompile(`\b[\w.-]+@[\w.-]+`), "ann@laptop"},
}

// plain is text without what differs from run to run.
func (s *scene) plain(text, name string) string {
	text = strings.NewReplacer(s.a.Mount, "/var/kingpin", s.b.Mount, "/var/kingpin", s.other, "other", s.number, "number", name, "f").Replace(text)
	for _, t := range temporary {
		text = t.pattern.ReplaceAllString(text, t.stands)
	}
	return text
}
