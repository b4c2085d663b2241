package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// A full disk keeps the old version and says so, and as soon as there is room commits go on.
func TestAFullDiskKeepsTheOldVersionAndSaysSo(t *testing.T) {
	dir := mountTmpfs(t, "1m")
	o := Options{Logger: quiet}
	s := openAt(t, dir+"/state", o)
	<-s.repaired
	f, g := config("config.a"), config("config.b")
	commit(t, s, f, 1, "old")
	commit(t, s, f, 2, "good")
	big := bytes.Repeat([]byte("x"), 2<<20)
	for _, commits := range [][]Commit{
		{{File: f, Order: 3, Body: big}},
		{{File: g, Order: 3, Body: []byte("small")}, {File: f, Order: 3, Body: big}},
	} {
		if _, err := s.Commit(commits...); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("commit: %v", err)
		}
		if got := state(t, s); got != "config/config.a=good; old config/config.a=old" {
			t.Errorf("state: %s", got)
		}
		checkTidy(t, s)
	}

	for n := 3; n < 9; n++ {
		commit(t, s, f, registry.Order(n), fmt.Sprint(n))
	}
	// To the last byte: not even the journal can grow.
	fillPage(t, s)
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, big, 0o644)
	if _, err := s.Commit(Commit{File: f, Order: 9, Body: []byte("no")}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("commit: %v", err)
	}
	if err := s.Remove(f); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("remove: %v", err)
	}
	good := current(t, s, f)
	if got := plain(t, s, f); got != good {
		t.Errorf("plain file is %q, current %q", got, good)
	}
	for _, e := range s.Expired() { // what fills the disk can be dropped nevertheless
		if err := s.Drop(e.Stamp); err != nil {
			t.Errorf("drop: %v", err)
		}
	}
	if _, err := os.Stat(s.dir.body(s.Superseded()[0].Stamp)); err != nil || len(s.Expired()) > 0 {
		t.Errorf("expired %v, %v", s.Expired(), err)
	}
	s.Close()
	s = openAt(t, s.Dir(), o) // a machine may boot with a full disk
	if got := current(t, s, f); got != good {
		t.Errorf("after a restart: %q, was %q", got, good)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if commit(t, s, f, 5000, "room again"); current(t, s, f) != "room again" {
		t.Error("commits do not go on")
	}
}

// fillPage makes the journal end where a page of the disk ends.
func fillPage(t *testing.T, s *Store) {
	t.Helper()
	s.writing.Lock()
	defer s.writing.Unlock()
	rest := 2*os.Getpagesize() - int(s.journal.size)%os.Getpagesize() - recordHeader
	if err := s.journal.append(slices.Repeat([]op{complete{}}, rest), true, func() {}); err != nil {
		t.Fatal(err)
	}
}

// One commit that does not fit must not take those down that happen to wait for the same disk.
func TestACommitThatDoesNotFitFailsAlone(t *testing.T) {
	dir := mountTmpfs(t, "1m")
	reached, release := make(chan struct{}), make(chan struct{})
	armed := false
	s := openAt(t, dir+"/state", Options{Logger: quiet, step: func(at step) {
		if armed && at == stepAppended {
			armed = false
			close(reached)
			<-release
		}
	}})
	<-s.repaired
	armed = true
	var all sync.WaitGroup
	all.Go(func() { commit(t, s, config("config.first"), 1, "x") })
	<-reached
	for n := range 5 {
		all.Go(func() { commit(t, s, config(fmt.Sprint("config.small", n)), 1, "x") })
	}
	all.Go(func() {
		if _, err := s.Commit(Commit{File: config("config.big"), Body: make([]byte, 2<<20)}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("commit: %v", err)
		}
	})
	eventually(t, func() bool {
		s.waiting.Lock()
		defer s.waiting.Unlock()
		return len(s.waiting.requests) == 6
	})
	close(release)
	all.Wait()
	if n := len(s.List(registry.Config)); n != 6 {
		t.Errorf("%d files", n)
	}
	checkTidy(t, s)
}

// A journal that could not be written to is not trusted again: it is written anew before the next commit.
func TestAJournalThatFailedIsWrittenAnew(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	f := config("config.a")
	commit(t, s, f, 1, "one")
	s.journal.file.Close()
	if _, err := s.Commit(Commit{File: f, Order: 2, Body: []byte("lost")}); err == nil {
		t.Fatal("committed")
	}
	if got := state(t, s); got != "config/config.a=one;" {
		t.Errorf("state: %s", got)
	}
	commit(t, s, f, 3, "three")
	s = reopen(t, s, Options{Logger: quiet})
	<-s.repaired
	if got := state(t, s); got != "config/config.a=three; old config/config.a=one" {
		t.Errorf("state: %s", got)
	}
	checkTidy(t, s)
}
