package disk

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// However many versions come, no body goes before somebody has asked the kernel and said Drop.
func TestHistoryIsBoundedByDropAlone(t *testing.T) {
	s := openAt(t, scratch(t), Options{Keep: 2, Logger: quiet})
	f := config("config.a")
	for n := range 7 {
		commit(t, s, f, registry.Order(n), fmt.Sprint(n))
	}
	for range 2 {
		if got := texts(t, s, s.SupersededOf(f)); got != "0 1 2 3 4 5 " {
			t.Errorf("superseded: %s", got)
		}
		if got := texts(t, s, s.Expired()); got != "0 1 2 3 " {
			t.Errorf("expired: %s", got)
		}
		s = reopen(t, s, Options{Keep: 2, Logger: quiet})
		<-s.repaired
	}
	held := s.Expired()[1]
	for _, e := range s.Expired() {
		if e != held {
			if err := s.Drop(e.Stamp); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if got := texts(t, s, s.Superseded()); got != "1 4 5 " {
			t.Errorf("superseded: %s", got)
		}
		if got := texts(t, s, s.Expired()); got != "1 " {
			t.Errorf("expired: %s", got)
		}
		checkTidy(t, s)
		s = reopen(t, s, Options{Keep: 2, Logger: quiet})
		<-s.repaired
	}
	current, _ := s.Current(f)
	if err := s.Drop(held.Stamp, current.Stamp); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("drop of the current version: %v", err)
	}
	if got := texts(t, s, s.Expired()); got != "1 " {
		t.Errorf("expired: %s", got)
	}
	if err := s.Drop(4711); err != nil {
		t.Errorf("drop of what is not there: %v", err)
	}
	if _, err := s.OpenBody(4711); !errors.Is(err, registry.ErrNotExist) {
		t.Errorf("open of what is not there: %v", err)
	}
}

// texts is the bodies of versions.
func texts(t *testing.T, s *Store, entries []Entry) (all string) {
	t.Helper()
	for _, e := range entries {
		all += body(t, s, e.Stamp) + " "
	}
	return all
}

// A name that changes for ever does not make the journal grow for ever.
func TestTheJournalStaysSmall(t *testing.T) {
	s := openAt(t, scratch(t), Options{Keep: -1, Logger: quiet})
	f := config("config.a")
	for n := range 6000 {
		e := commit(t, s, f, registry.Order(n), fmt.Sprint(n))
		s.Announced(e.Stamp)
		for _, old := range s.Expired() {
			if err := s.Drop(old.Stamp); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() bool {
		s.writing.Lock()
		defer s.writing.Unlock()
		return !s.grown()
	})
	s = reopen(t, s, Options{})
	if s.journal.size > 2*minGrowth {
		t.Errorf("journal of %d bytes", s.journal.size)
	}
	if got := current(t, s, f); got != "5999" {
		t.Errorf("current is %q", got)
	}
	if s.journal.base == 0 || s.journal.base > 1000 {
		t.Errorf("checkpoint of %d bytes", s.journal.base)
	}
}

// A version that came back after its successor was damaged is one version still.
func TestVersionsOfAFileComeNewestFirstAndOnce(t *testing.T) {
	s := openAt(t, scratch(t), Options{Keep: 9, Logger: quiet})
	f := config("config.a")
	for n, version := range []registry.Version{"", "1.0", "2.0", "1.0"} {
		c := Commit{File: f, Order: registry.Order(n), Version: version, Body: []byte(version)}
		if _, err := s.Commit(c); err != nil {
			t.Fatal(err)
		}
	}
	var got []registry.Version
	for _, e := range s.VersionsOf(f) {
		got = append(got, e.Version)
	}
	if !slices.Equal(got, []registry.Version{"1.0", "2.0"}) {
		t.Errorf("versions: %q", got)
	}
}
