package disk

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scratch is a directory in memory where there is one: for tests that make many stores and do not ask how the disk does it.
func scratch(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "kingpin-disk-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// openAt opens a store that is closed with the test.
func openAt(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// quiet is for tests in which trouble is the point.
var quiet = slog.New(slog.DiscardHandler)

// unhappy fails the test when anything is logged as a warning.
func unhappy(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(failWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type failWriter struct{ t testing.TB }

func (w failWriter) Write(b []byte) (int, error) {
	w.t.Errorf("logged: %s", b)
	return len(b), nil
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// reopen closes a store and opens its directory again.
func reopen(t testing.TB, s *Store, o Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openAt(t, s.Dir(), o)
}

func config(name string) File { return File{registry.Config, name} }

// commit makes body current under an order that is also its version.
func commit(t testing.TB, s *Store, f File, order registry.Order, body string) Entry {
	t.Helper()
	entries, err := s.Commit(Commit{
		File: f, Version: registry.NextVersion(time.Unix(0, int64(order)), ""), Order: order, Body: []byte(body),
		Author: "ann@host", Message: "because", Published: time.Unix(1700000000, 5),
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries[0]
}

// body reads one version through the store.
func body(t testing.TB, s *Store, stamp Stamp) string {
	t.Helper()
	file, err := s.OpenBody(stamp)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// current reads what a reader of the mount would see.
func current(t testing.TB, s *Store, f File) string {
	t.Helper()
	e, ok := s.Current(f)
	if !ok {
		t.Fatalf("%s is not there", f)
	}
	return body(t, s, e.Stamp)
}

// plain reads what a program without us would see.
func plain(t testing.TB, s *Store, f File) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir(), "files", f.String()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestACommittedFileIsThereAfterARestart(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	f := config("config.manageddata.spam.blacklist")
	commit(t, s, f, 1, "one\n")
	second := commit(t, s, f, 2, "two\n")
	for range 2 {
		if got := current(t, s, f); got != "two\n" {
			t.Errorf("current is %q", got)
		}
		if got := plain(t, s, f); got != "two\n" {
			t.Errorf("plain file is %q", got)
		}
		if e, _ := s.Current(f); e != second {
			t.Errorf("entry is %+v, was %+v", e, second)
		}
		if old := s.SupersededOf(f); len(old) != 1 || body(t, s, old[0].Stamp) != "one\n" {
			t.Errorf("superseded: %v", old)
		}
		s = reopen(t, s, Options{})
	}
}
