package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// spoil changes one byte of a body and keeps its size, as a bad disk does.
func spoil(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.WriteFile(path, b, 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// The ways in which a body can go bad.
var damages = map[string]func(t *testing.T, path string){
	"a flipped bit": spoil,
	"cut short": func(t *testing.T, path string) {
		if err := os.Truncate(path, 1); err != nil {
			t.Fatal(err)
		}
	},
	"a directory": func(t *testing.T, path string) {
		if err := errors.Join(os.Truncate(path, 0), os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
			t.Fatal(err)
		}
	},
	"gone, under both its names": func(t *testing.T, path string) {
		if err := errors.Join(os.Truncate(path, 0), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	},
}

// A body that went bad on the disk is never served: the version before it takes its place until the file was fetched again.
func TestABadBodyIsReplacedByTheVersionBeforeAndFetchedAgain(t *testing.T) {
	for name, harm := range damages {
		t.Run(name, func(t *testing.T) {
			o := Options{Logger: quiet}
			s := openAt(t, scratch(t), o)
			f := config("config.a")
			older := commit(t, s, f, 1, "good and old")
			bad := commit(t, s, f, 2, "good and new")
			s = reopen(t, s, o)
			<-s.repaired
			harm(t, s.dir.body(bad.Stamp))

			if _, err := s.OpenBody(bad.Stamp); !errors.Is(err, registry.ErrChecksum) {
				t.Fatalf("open: %v", err)
			}
			e, _ := s.Current(f)
			if e.Stamp <= bad.Stamp || e.Order != 0 || e.Version != older.Version {
				t.Errorf("current is %+v", e)
			}
			for range 2 { // a restart forgets none of it
				if got := current(t, s, f) + plain(t, s, f); got != "good and oldgood and old" {
					t.Errorf("served: %q", got)
				}
				if got := s.Damaged(); !slices.Equal(got, []File{f}) {
					t.Errorf("damaged: %v", got)
				}
				if _, ok := s.ByStamp(bad.Stamp); ok {
					t.Error("the bad version is still offered")
				}
				s = reopen(t, s, o)
				<-s.repaired
			}
			fetched := commit(t, s, f, 2, "good and new")
			if got := current(t, s, f); got != "good and new" || fetched.Stamp <= e.Stamp {
				t.Errorf("fetched again: %q, %+v", got, fetched)
			}
			if got := s.Damaged(); len(got) > 0 {
				t.Errorf("still damaged: %v", got)
			}
		})
	}
}

// With no older version there is nothing to serve: the error says so, the plain file goes, and the mirror hears of it.
func TestABadBodyWithoutAnOlderVersionWaitsForTheMirror(t *testing.T) {
	for name, harm := range damages {
		t.Run(name, func(t *testing.T) {
			o := Options{Logger: quiet}
			s := openAt(t, scratch(t), o)
			f := config("config.a")
			bad := commit(t, s, f, 2, "good")
			s = reopen(t, s, o)
			harm(t, s.dir.body(bad.Stamp))
			for range 2 {
				if _, err := s.OpenBody(bad.Stamp); !errors.Is(err, registry.ErrChecksum) {
					t.Fatalf("open: %v", err)
				}
				if e, ok := s.Current(f); !ok || e.Stamp != bad.Stamp {
					t.Errorf("the file is not listed: %+v", e)
				}
				if _, err := os.Lstat(s.dir.plain(f)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("plain file: %v", err)
				}
				s = reopen(t, s, o)
				<-s.repaired
			}
			for damaged := range s.Repairs(t.Context()) {
				if !slices.Equal(damaged, []File{f}) {
					t.Errorf("damaged: %v", damaged)
				}
				break
			}
			commit(t, s, f, 2, "good") // the same state of the registry, fetched again
			if got := current(t, s, f) + plain(t, s, f); got != "goodgood" {
				t.Errorf("served: %q", got)
			}
			if len(s.Damaged()) > 0 || len(s.Superseded()) > 0 {
				t.Errorf("damaged %v, superseded %v", s.Damaged(), s.Superseded())
			}
		})
	}
}

// Where only the name of the body was lost, its plain file still has the bytes.
func TestABodyThatWasDeletedComesBackFromItsPlainFile(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	f := config("config.a")
	e := commit(t, s, f, 1, "good")
	if err := os.Remove(s.dir.body(e.Stamp)); err != nil {
		t.Fatal(err)
	}
	if got := body(t, s, e.Stamp); got != "good" {
		t.Errorf("body is %q", got)
	}
	if len(s.Damaged()) > 0 {
		t.Error("it counts as damaged")
	}
}

// Somebody with root's rights writes over a plain file, which is the body.
func TestAPlainFileWrittenOverIsNotServed(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	f := config("config.a")
	commit(t, s, f, 1, "good")
	e := commit(t, s, f, 2, "best")
	if got := current(t, s, f); got != "best" { // checked once
		t.Fatalf("current is %q", got)
	}
	if err := os.WriteFile(s.dir.plain(f), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBody(e.Stamp); !errors.Is(err, registry.ErrChecksum) {
		t.Errorf("open: %v", err)
	}
	if got := current(t, s, f) + plain(t, s, f); got != "goodgood" {
		t.Errorf("served: %q", got)
	}
	if b, err := os.ReadFile(s.dir.quarantine(e.Stamp)); err != nil || !bytes.Equal(b, []byte("evil")) {
		t.Errorf("quarantine: %q %v", b, err)
	}
}

// A bad old version is of no use to anybody and no trouble to the current one.
func TestABadOldVersionIsForgotten(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	f := config("config.a")
	old := commit(t, s, f, 1, "old")
	commit(t, s, f, 2, "new")
	s = reopen(t, s, Options{Logger: quiet})
	spoil(t, s.dir.body(old.Stamp))
	if _, err := s.OpenBody(old.Stamp); !errors.Is(err, registry.ErrChecksum) {
		t.Errorf("open: %v", err)
	}
	if len(s.Damaged()) > 0 || len(s.Superseded()) > 0 || current(t, s, f) != "new" {
		t.Errorf("damaged %v, superseded %v", s.Damaged(), s.Superseded())
	}
	if _, err := s.OpenBody(old.Stamp); !errors.Is(err, registry.ErrNotExist) {
		t.Errorf("open again: %v", err)
	}
}

// Bad bodies are kept to be looked at, and a bad disk does not fill with them.
func TestTheQuarantineIsBounded(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	<-s.repaired
	for n := range 2 * maxQuarantine {
		if err := os.WriteFile(s.dir.quarantine(Stamp(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s, Options{})
	<-s.repaired
	left, err := os.ReadDir(s.dir.path("quarantine"))
	if err != nil || len(left) != maxQuarantine || left[0].Name() != Stamp(maxQuarantine).String() {
		t.Errorf("%d left: %v", len(left), err)
	}
}

// Readers that find the same damage at once all get an error or good bytes, and one repair is made.
func TestManyReadersFindTheSameDamage(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	f := config("config.a")
	commit(t, s, f, 1, "old")
	bad := commit(t, s, f, 2, "new")
	s = reopen(t, s, Options{Logger: quiet})
	spoil(t, s.dir.body(bad.Stamp))
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := s.OpenBody(bad.Stamp)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; !errors.Is(err, registry.ErrChecksum) && !errors.Is(err, registry.ErrNotExist) {
			t.Errorf("open: %v", err)
		}
	}
	if n := len(s.Superseded()); n != 1 {
		t.Errorf("%d superseded versions", n)
	}
	if got := current(t, s, f); got != "old" {
		t.Errorf("current is %q", got)
	}
}

// The mirror is woken for each new damage, also for what was found while it was busy.
func TestRepairsWakesForEveryDamage(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	a, b := config("config.a"), config("config.b")
	ea, eb := commit(t, s, a, 1, "aa"), commit(t, s, b, 1, "bb")
	s = reopen(t, s, Options{Logger: quiet})
	spoil(t, s.dir.body(ea.Stamp))
	spoil(t, s.dir.body(eb.Stamp))
	ctx, cancel := context.WithCancel(t.Context())
	found := make(chan []File)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for damaged := range s.Repairs(ctx) {
			found <- damaged
		}
	}()
	s.OpenBody(ea.Stamp)
	if got := <-found; !slices.Equal(got, []File{a}) {
		t.Errorf("damaged: %v", got)
	}
	s.OpenBody(eb.Stamp)
	if got := <-found; !slices.Equal(got, []File{a, b}) {
		t.Errorf("damaged: %v", got)
	}
	cancel()
	<-ended
}

// What this process has just written need not be read to be served; touched or opened by another process, it is.
func TestABodyIsNotReadAgainByWhoWroteIt(t *testing.T) {
	o := Options{Logger: quiet}
	s := openAt(t, scratch(t), o)
	f := config("config.a")
	e := commit(t, s, f, 1, "good")
	s.mu.RLock()
	v := s.index.versions[e.Stamp]
	s.mu.RUnlock()
	if got := v.verified.Load(); got != int64(e.Stamp) {
		t.Errorf("verified at %d, written at %d", got, e.Stamp)
	}
	if err := os.Chtimes(s.dir.body(e.Stamp), e.Published, e.Published); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir.body(e.Stamp), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBody(e.Stamp); !errors.Is(err, registry.ErrChecksum) {
		t.Errorf("open: %v", err)
	}
	again := commit(t, s, f, 2, "good")
	s = reopen(t, s, o)
	spoil(t, s.dir.body(again.Stamp))
	if _, err := s.OpenBody(again.Stamp); !errors.Is(err, registry.ErrChecksum) {
		t.Errorf("open after a restart: %v", err)
	}
}
