package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// A program that knows nothing of us reads the plain files while they change: it never sees a part, a mixture or no file.
func TestAnyProgramReadsWholePlainFilesWhileTheyChange(t *testing.T) {
	before := syscall.Umask(0o077) // an administrator's umask must not hide them
	defer syscall.Umask(before)
	s := openAt(t, scratch(t), Options{Keep: -1})
	f := config("config.manageddata.spam.blacklist")
	content := func(n int) string { return strings.Repeat(fmt.Sprintf("%07d\n", n), 25_000) }
	commit(t, s, f, 1, content(1))
	path := filepath.Join(s.Dir(), "files", f.String())

	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var last time.Time
			for {
				select {
				case <-done:
					return
				default:
				}
				b, err := os.ReadFile(path)
				if err != nil || len(b) != 200_000 || strings.Count(string(b), string(b[:8])) != 25_000 {
					t.Errorf("read %d bytes: %v", len(b), err)
					return
				}
				info, err := os.Stat(path)
				if err != nil || info.Mode() != 0o644 || info.ModTime().Before(last) {
					t.Errorf("%v after %v: %v", info, last, err)
					return
				}
				last = info.ModTime()
			}
		})
	}
	for n := 2; n <= 60; n++ {
		e := commit(t, s, f, registry.Order(n), content(n))
		if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(e.Stamp.Time()) {
			t.Errorf("mtime of the plain file is not the stamp %v: %v %v", e.Stamp.Time(), info.ModTime(), err)
		}
		for _, old := range s.Expired() {
			if err := s.Drop(old.Stamp); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	readers.Wait()
	for dir := path; dir != s.Dir(); {
		dir = filepath.Dir(dir)
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 && dir != s.Dir() {
			t.Errorf("%s: %v %v", dir, info.Mode(), err)
		}
	}
	s.Close()
	if got := plain(t, s, f); got != content(60) {
		t.Error("with the store closed, the plain file is another one")
	}
}

// Whatever happened to the plain tree while we were away, it is what the store says soon after Open.
func TestThePlainTreeIsRepairedAfterOpen(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	a, b, c := config("config.a"), config("config.b"), File{registry.Decider, "c"}
	for _, f := range []File{a, b, c} {
		commit(t, s, f, 1, "first "+f.Name)
		commit(t, s, f, 2, "right "+f.Name)
	}
	s.Close()
	for _, err := range []error{
		os.Remove(s.dir.plain(a)),
		os.Remove(s.dir.plain(b)),
		os.WriteFile(s.dir.plain(b), []byte("wrong config.b"), 0o600),
		os.WriteFile(s.dir.plain(config("config.nobody.knows")), []byte("stray"), 0o644),
		os.WriteFile(s.dir.path("stage", "0123456789abcdef"), []byte("left by a crash"), 0o644),
		os.WriteFile(s.dir.body(77), []byte("left by a crash"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s = openAt(t, s.Dir(), Options{})
	<-s.repaired
	for _, f := range []File{a, b, c} {
		if got := plain(t, s, f); got != "right "+f.Name {
			t.Errorf("plain file of %s is %q", f, got)
		}
	}
	state(t, s)
	checkTidy(t, s)
}

// What upkeep takes for an orphan may be the body of a commit that is not there yet.
func TestTheSweepSparesABodyOnItsWay(t *testing.T) {
	written, listed := make(chan struct{}), make(chan struct{})
	armed := false
	s := openAt(t, scratch(t), Options{Logger: unhappy(t), step: func(at step) {
		switch {
		case armed && at == stepSynced:
			close(written)
			<-listed
		case armed && at == stepListed:
			close(listed)
		}
	}})
	<-s.repaired
	armed = true
	f := config("config.a")
	var both sync.WaitGroup
	both.Go(func() { commit(t, s, f, 1, "one") })
	<-written
	both.Go(s.sweepBodies)
	both.Wait()
	if got := current(t, s, f); got != "one" {
		t.Errorf("current is %q", got)
	}
	checkTidy(t, s)
}

// Something that is in the way of a plain file does not stop a commit, and the plain file follows when it is gone.
func TestAPlainFileThatIsInTheWayDoesNotStopTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, scratch(t), Options{Logger: quiet})
		f := config("config.a")
		if err := os.MkdirAll(filepath.Join(s.dir.plain(f), "somebody's"), 0o755); err != nil {
			t.Fatal(err)
		}
		commit(t, s, f, 1, "one")
		if got := current(t, s, f); got != "one" {
			t.Errorf("current is %q", got)
		}
		if err := os.RemoveAll(s.dir.plain(f)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryPlain + time.Second)
		synctest.Wait()
		if got := plain(t, s, f); got != "one" {
			t.Errorf("plain file is %q", got)
		}
		s.Close()
	})
}

func TestRemovedFilesAreGoneAndTheirVersionsExpire(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	f := config("config.a")
	commit(t, s, f, 5, "one")
	e := commit(t, s, f, 6, "two")
	held, err := s.OpenBody(e.Stamp)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := s.Remove(f); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, ok := s.Current(f); ok || len(s.List(registry.Config)) > 0 {
			t.Error("it is still there")
		}
		if _, err := os.Lstat(s.dir.plain(f)); !os.IsNotExist(err) {
			t.Errorf("plain file: %v", err)
		}
		if got := body(t, s, e.Stamp); got != "two" {
			t.Errorf("who has it open reads %q", got)
		}
		if expired := s.Expired(); len(expired) != 2 {
			t.Errorf("expired: %v", expired)
		}
		s = reopen(t, s, Options{})
	}
	again := commit(t, s, f, 1, "three") // another life: the order of the old one does not count
	if got := current(t, s, f); got != "three" || again.Stamp <= e.Stamp {
		t.Errorf("current is %q", got)
	}
	if err := s.Remove(config("config.never.was")); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// Names come from the network: none may lead out of its directory.
func TestNamesThatAreNoFileNamesAreRefused(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	good := config("config.good")
	for _, f := range []File{
		{registry.Config, ""}, {registry.Config, ".."}, {registry.Config, "../../etc/passwd"}, {registry.Config, "a/b"},
		{registry.Config, ".hidden"}, {registry.Config, "nul\x00byte"}, {registry.Config, strings.Repeat("x", 256)}, {0, "a"}, {9, "a"},
	} {
		_, err := s.Commit(Commit{File: good, Body: []byte("good")}, Commit{File: f, Body: []byte("bad")})
		if !isErr(err, registry.ErrInvalid) {
			t.Errorf("%q: %v", f.Name, err)
		}
	}
	if _, ok := s.Current(good); ok {
		t.Error("half of a commit happened")
	}
	count := 0
	if err := filepath.WalkDir(s.dir.path("files"), func(string, fs.DirEntry, error) error { count++; return nil }); err != nil || count != 4 {
		t.Errorf("%d entries in the plain tree: %v", count, err)
	}
}
