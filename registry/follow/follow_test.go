package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/registry/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// word is a content that is good if it is one word.
func word(data []byte) (string, error) {
	s := strings.TrimSpace(string(data))
	if len(strings.Fields(s)) != 1 {
		return "", fmt.Errorf("%.20q is not one word", s)
	}
	return s, nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s until %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func holds(f *follow.File[string], want string) func() bool {
	return func() bool { s, ok := f.Load(); return ok && s == want }
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace renames a new file over path, as KingPin, editors and renameio do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	temporary := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	write(t, temporary, content)
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

// slow is a poll that does not help: what these tests see is seen by events.
const slow = time.Hour

func open(t *testing.T, path string, o follow.Options) *follow.File[string] {
	t.Helper()
	if o.Poll == 0 {
		o.Poll = slow
	}
	f, err := follow.Open(path, word, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// logged collects lines.
type logged struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logged) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), part)
}

func TestValueIsThereWhenOpenReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one\n")
	f := open(t, path, follow.Options{})
	if s, ok := f.Load(); !ok || s != "one" {
		t.Fatalf("loaded %q, %v", s, ok)
	}
	if err := f.Wait(t.Context()); err != nil || f.Err() != nil {
		t.Fatal(err, f.Err())
	}
	s := f.Snapshot()
	if s.Path != path || len(s.Version) != 16 || s.Modified.IsZero() || !s.Good() {
		t.Errorf("snapshot %+v", s)
	}
}

func TestEveryWayToReplaceAFileIsHeard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "start")
	f := open(t, path, follow.Options{})
	for _, way := range []struct {
		name   string
		change func(content string)
	}{
		{"rename over it", func(c string) { replace(t, path, c) }},
		{"write in place", func(c string) { write(t, path, c) }},
		{"the same length in place", func(c string) {
			old, _ := os.Stat(path)
			write(t, path, c)
			_ = os.Chtimes(path, old.ModTime(), old.ModTime())
		}},
		{"delete and create", func(c string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, c)
		}},
		{"turn a symbolic link", func(c string) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "target"), c)
			link := path + ".link"
			if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(link, path); err != nil {
				t.Fatal(err)
			}
		}},
		{"replace what the link leads to", func(c string) {
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, target, c)
		}},
		{"a file again", func(c string) { replace(t, path, c) }},
	} {
		for _, suffix := range []string{"-1", "-2"} {
			want := strings.ReplaceAll(way.name, " ", "_") + suffix
			if way.name == "turn a symbolic link" || suffix == "-1" || way.name != "a file again" {
				way.change(want)
				eventually(t, way.name, holds(f, want))
			}
		}
	}
}

// TestKubernetesSwapsALinkOfADirectory: file -> ..data/file, ..data -> a directory a version.
func TestKubernetesSwapsALinkOfADirectory(t *testing.T) {
	dir := t.TempDir()
	publish := func(version string) {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "f"), version)
		if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1")
	if err := os.Symlink("..data/f", filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "f"), follow.Options{})
	for _, version := range []string{"..2", "..3", "..4"} {
		publish(version)
		eventually(t, version, holds(f, version))
	}
}

// TestProcessStartsBeforeItsFile: the old libraries never noticed a file that was not there at the start (D16).
func TestProcessStartsBeforeItsFile(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "config", "f")
	var lines logged
	f := open(t, path, follow.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	if _, ok := f.Load(); ok || !errors.Is(f.Err(), fs.ErrNotExist) {
		t.Fatalf("a file that is not there: %v", f.Err())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := f.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("waiting in vain: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directory is noticed", func() bool { return lines.count(path) > 0 || f.Err() == nil })
	write(t, path, "late")
	if err := f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _ := f.Load(); s != "late" || f.Err() != nil {
		t.Errorf("%q, %v", s, f.Err())
	}
}

func TestDirectoryThatIsMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "f")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, "one")
	f := open(t, path, follow.Options{})
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".old"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is seen", func() bool { return f.Err() != nil })
	if !holds(f, "one")() {
		t.Error("the last good value is gone")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, "two")
	eventually(t, "the new directory is read", holds(f, "two"))
	replace(t, path, "three")
	eventually(t, "the new directory is watched", holds(f, "three"))
}

// TestBrokenContentKeepsTheLastGoodValue: in the old libraries it became an empty structure (D17).
func TestBrokenContentKeepsTheLastGoodValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "good")
	var lines logged
	f := open(t, path, follow.Options{Poll: 2 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	replace(t, path, "not a word")
	eventually(t, "it is reported", func() bool { return f.Err() != nil })
	for range 3 {
		if err := f.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !holds(f, "good")() || !strings.Contains(f.Err().Error(), "is not one word") || !strings.Contains(f.Err().Error(), path) {
		t.Errorf("%v", f.Err())
	}
	if n := lines.count("the last good content stays"); n != 1 {
		t.Errorf("reported %d times", n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its absence is reported", func() bool { return errors.Is(f.Err(), fs.ErrNotExist) })
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a directory is reported", func() bool { return f.Err() != nil && strings.Contains(f.Err().Error(), "no regular file") })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, "better")
	eventually(t, "it is good again", func() bool { return holds(f, "better")() && f.Err() == nil })
	if n := lines.count("good again"); n < 1 {
		t.Error("nobody said that it is good again")
	}
}

func TestFileAboveTheLimitIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "small")
	f := open(t, path, follow.Options{Limit: 10})
	replace(t, path, strings.Repeat("x", 11))
	eventually(t, "it is refused", func() bool { return f.Err() != nil })
	if !holds(f, "small")() || !strings.Contains(f.Err().Error(), "at most 10") {
		t.Error(f.Err())
	}
	replace(t, path, strings.Repeat("x", 10))
	eventually(t, "it fits", holds(f, strings.Repeat("x", 10)))
}

// TestTornWritesAreNeverSeen: the old monitor cut a file and wrote it again, and set its time back; what an application
// read in between stayed (D2).
func TestTornWritesAreNeverSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "0")
	seen := make(chan string, 1000)
	f, err := follow.Open(path, func(data []byte) (string, error) { seen <- string(data); return string(data), nil }, follow.Options{Poll: slow})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole := map[string]bool{"0": true}
	for i := range 20 {
		content := strings.Repeat(fmt.Sprintln("line", i), 2000)
		whole[content] = true
		old := time.Now().Add(-time.Hour + time.Duration(i)*time.Second)
		touched := time.Now()
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for piece := range 4 {
			<-time.After(3 * time.Millisecond)
			before := time.Now()
			if _, err := w.WriteString(content[piece*len(content)/4 : (piece+1)*len(content)/4]); err != nil {
				t.Fatal(err)
			}
			if time.Since(touched) > 25*time.Millisecond { // the machine has stalled: who leaves a file alone for so long is believed
				whole[content[:piece*len(content)/4]] = true
			}
			touched = before
		}
		if err := errors.Join(w.Close(), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the whole content is there", holds(f, content))
	}
	close(seen)
	for content := range seen {
		if !whole[content] {
			t.Errorf("a content of %d bytes was taken, which nobody wrote", len(content))
		}
	}
}

func TestChangesYieldThePresentAndTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := open(t, path, follow.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	write(t, path, "first")
	var got []string
	for s := range f.Changes(ctx) {
		got = append(got, s.Value)
		switch s.Value {
		case "first":
			replace(t, path, "second")
		case "second":
			replace(t, path, "second") // equal bytes are no change
			replace(t, path, "third")
		case "third":
			cancel()
		}
	}
	if strings.Join(got, " ") != "first second third" {
		t.Errorf("saw %q", got)
	}
	for range f.Changes(t.Context()) { // who comes later begins with the present
		break
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range f.Changes(context.Background()) {
		}
	}()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if !holds(f, "third")() {
		t.Error("the value went with the file")
	}
	if err := f.Refresh(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("refreshing a closed file: %v", err)
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	for _, path := range []string{"", "/", "."} {
		if f, err := follow.Open(path, word, follow.Options{}); err == nil {
			t.Errorf("%q was opened", path)
			f.Close()
		}
	}
}
