package disk

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// cuts are what a power cut may leave of a file that was written and not made durable. Its size and times may have survived where its
// bytes have not.
var cuts = map[string]func(path string, data []byte, stamp Stamp) error{
	"whole":   func(string, []byte, Stamp) error { return nil },
	"missing": func(path string, _ []byte, _ Stamp) error { return os.Remove(path) },
	"empty":   func(path string, _ []byte, s Stamp) error { return overwrite(path, nil, s) },
	"zeros":   func(path string, b []byte, s Stamp) error { return overwrite(path, make([]byte, len(b)), s) },
	"half": func(path string, b []byte, s Stamp) error {
		return overwrite(path, append(bytes.Clone(b[:len(b)/2]), make([]byte, len(b)-len(b)/2)...), s)
	},
	"cut short": func(path string, b []byte, s Stamp) error { return overwrite(path, b[:len(b)/2], s) },
	"somebody else's bytes": func(path string, b []byte, s Stamp) error {
		return overwrite(path, bytes.Repeat([]byte("?"), len(b)), s)
	},
	"whole, of another time": func(path string, _ []byte, _ Stamp) error {
		return errors.Join(os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)), os.Chmod(path, 0o600))
	},
}

// overwrite changes the bytes of a file under all its names.
func overwrite(path string, data []byte, stamp Stamp) error {
	return errors.Join(os.WriteFile(path, data, 0o644), os.Chtimes(path, stamp.Time(), stamp.Time()))
}

// killed runs write on a store that then ends without having made anything durable later.
func killed(t *testing.T, dir string, write func(s *Store)) {
	t.Helper()
	if at := crashing(t, dir, -1, write); at != "" {
		t.Fatalf("stopped at %q", at)
	}
}

// openWhole opens a directory, and again: both times everything must be right, without anybody having to fetch.
func openWhole(t *testing.T, dir, want, what string) {
	t.Helper()
	for range 2 {
		s := openAt(t, dir, Options{Logger: quiet, sync: time.Hour})
		if got := state(t, s); got != want {
			t.Errorf("%s: state is %s, was %s", what, got, want)
		}
		<-s.repaired
		if got := state(t, s); got != want {
			t.Errorf("%s: after upkeep the state is %s, was %s", what, got, want)
		}
		for _, kind := range kinds {
			for _, e := range s.List(kind) {
				info, err := os.Stat(s.dir.plain(e.File))
				if err != nil || info.ModTime().UnixNano() != int64(e.Stamp) || info.Mode().Perm() != 0o644 {
					t.Errorf("%s: plain file is %v: %v", what, info, err)
				}
			}
		}
		if len(s.Damaged()) > 0 {
			t.Errorf("%s: to be fetched again: %v", what, s.Damaged())
		}
		checkTidy(t, s)
		s.Close()
	}
}

// Whatever a power cut leaves of the files, in both trees, the journal brings the version back that was acknowledged.
func TestAPowerCutMayLeaveAnythingOfAFileThatTheJournalCarries(t *testing.T) {
	f := config("config.a")
	plains := map[string]func(s layout, old, e Entry) error{
		"in place": func(layout, Entry, Entry) error { return nil },
		"missing":  func(l layout, _, _ Entry) error { return os.Remove(l.plain(f)) },
		"the one before": func(l layout, old, _ Entry) error {
			return errors.Join(os.Remove(l.plain(f)), os.Link(l.body(old.Stamp), l.plain(f)))
		},
		"another file of its size and time": func(l layout, _, e Entry) error {
			return errors.Join(os.Remove(l.plain(f)), overwrite(l.plain(f), make([]byte, e.Size), e.Stamp))
		},
		"still staged, with other bytes": func(l layout, _, e Entry) error {
			return errors.Join(os.Remove(l.plain(f)), overwrite(l.staged(e.Stamp), make([]byte, e.Size), e.Stamp))
		},
	}
	for body, harmBody := range cuts {
		for plain, harmPlain := range plains {
			dir := scratch(t)
			var old, e Entry
			var want string
			killed(t, dir, func(s *Store) {
				commit(t, s, config("config.other"), 1, "other")
				old = commit(t, s, f, 1, "the version before")
				e = commit(t, s, f, 2, "acknowledged")
				want = state(t, s)
			})
			l := layout(dir)
			if err := errors.Join(harmBody(l.body(e.Stamp), []byte("acknowledged"), e.Stamp), harmPlain(l, old, e)); err != nil {
				t.Fatal(err)
			}
			openWhole(t, dir, want, fmt.Sprintf("body %s, plain file %s", body, plain))
		}
	}
}

// Each of many bodies may be hit in another way: those of old versions, of one batch, of new names.
func TestAPowerCutMayHitEveryBodyInAnotherWay(t *testing.T) {
	ways := slices.Sorted(maps.Keys(cuts))
	for shift := range ways {
		dir := scratch(t)
		bodies := map[Stamp]string{}
		var want string
		killed(t, dir, func(s *Store) {
			note := func(entries ...Entry) {
				for _, e := range entries {
					bodies[e.Stamp] = body(t, s, e.Stamp)
				}
			}
			for n := range 9 {
				note(commit(t, s, config(fmt.Sprint("config.n", n%4)), registry.Order(n+1), fmt.Sprint("body number ", n)))
			}
			entries, err := s.Commit(Commit{File: File{registry.Serverset, "discovery.b.prod"}, Body: []byte("10.0.0.1:80\n")},
				Commit{File: File{registry.Decider, "d"}, Body: []byte("50\n")}, Commit{File: config("config.empty")},
				Commit{File: config("config.full"), Body: bytes.Repeat([]byte("x"), smallBody)})
			if err != nil {
				t.Fatal(err)
			}
			note(entries...)
			if err := s.Remove(config("config.n1")); err != nil {
				t.Fatal(err)
			}
			want = state(t, s)
		})
		for i, stamp := range slices.Sorted(maps.Keys(bodies)) {
			way := ways[(i*(shift/3+1)+shift)%len(ways)]
			if err := cuts[way](layout(dir).body(stamp), []byte(bodies[stamp]), stamp); err != nil {
				t.Fatal(err)
			}
		}
		openWhole(t, dir, want, fmt.Sprint("shift ", shift))
		if t.Failed() {
			return
		}
	}
}

// A journal that is written anew carries no bodies: by then their files are durable. A body that the disk has refused gets a new file.
func TestAJournalWrittenAnewNeedsItsBodiesDurable(t *testing.T) {
	f := config("config.a")
	s := openAt(t, scratch(t), Options{Logger: quiet, sync: time.Hour})
	<-s.repaired
	commit(t, s, f, 1, "old")
	e := commit(t, s, f, 2, "refused")
	before, err := os.Stat(s.dir.body(e.Stamp))
	if err != nil {
		t.Fatal(err)
	}
	s.writing.Lock()
	s.unsynced.doubtful = true
	s.writing.Unlock()
	if err := overwrite(s.dir.body(e.Stamp), make([]byte, e.Size), e.Stamp); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(s); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(s.dir.body(e.Stamp)); err != nil || os.SameFile(before, after) {
		t.Errorf("it is the same file: %v", err)
	}
	s.writing.Lock()
	if len(s.unsynced.stamps) > 0 || s.unsynced.doubtful {
		t.Errorf("still to be made durable: %v", s.unsynced)
	}
	s.writing.Unlock()
	want := "config/config.a=refused; old config/config.a=old"
	if got := state(t, s); got != want {
		t.Errorf("state: %s", got)
	}
	s.Close()
	openWhole(t, s.Dir(), want, "after the checkpoint")

	// It cannot be written anew while a body cannot be made durable, and loses nothing by that.
	s = openAt(t, s.Dir(), Options{Logger: quiet, sync: time.Hour})
	<-s.repaired
	e = commit(t, s, f, 3, "carried")
	if err := os.Remove(s.dir.body(e.Stamp)); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(s); err == nil {
		t.Error("the journal let go of a body that is nowhere else")
	}
	s.Close()
	openWhole(t, s.Dir(), "config/config.a=carried; old config/config.a=old old config/config.a=refused", "after a refused checkpoint")
}

// What the journal carries is made durable soon, by nobody whom a commit waits for.
func TestBodiesAreMadeDurableSoon(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	for n := range fewFiles + 5 {
		commit(t, s, config(fmt.Sprint("config.n", n)), 1, fmt.Sprint(n))
	}
	eventually(t, func() bool {
		s.writing.Lock()
		defer s.writing.Unlock()
		return len(s.unsynced.stamps) == 0 && s.unsynced.count == fewFiles+5
	})
}

func journalSize(s *Store) int64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.journal.size
}

// Only small bodies are carried, and few: the journal must not become the place where bodies are kept.
func TestLargeBodiesAreNotCarried(t *testing.T) {
	s := openAt(t, scratch(t), Options{sync: time.Hour})
	<-s.repaired
	for n, size := range []int{0, smallBody, smallBody + 1, 1 << 20} {
		before := journalSize(s)
		commit(t, s, config(fmt.Sprint("config.n", n)), 1, string(bytes.Repeat([]byte("x"), size)))
		if grown := journalSize(s) - before; (size <= smallBody) != (grown >= int64(size)) || grown > smallBody+500 {
			t.Errorf("a body of %d bytes lets the journal grow by %d", size, grown)
		}
	}
	var commits []Commit
	for n := range smallBatch/smallBody + 1 {
		commits = append(commits, Commit{File: config(fmt.Sprint("config.m", n)), Body: bytes.Repeat([]byte("y"), smallBody)})
	}
	before := journalSize(s)
	if _, err := s.Commit(commits...); err != nil || journalSize(s)-before > smallBody {
		t.Errorf("a batch lets the journal grow by %d: %v", journalSize(s)-before, err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.grown() {
		t.Error("it is to be written anew for a few bodies")
	}
	s.unsynced.count = maxCarried + 1
	if !s.grown() {
		t.Error("it may carry any number of bodies")
	}
	s.unsynced.count, s.unsynced.bytes = 1, maxCarriedBytes+1
	if !s.grown() {
		t.Error("it may carry any number of bytes")
	}
}

// A program that has never heard of carried bodies reads one as the retitle of a file that it does not have, and no name can become
// that file. A program of today reads what those wrote.
func TestAnOlderProgramPassesOverCarriedBodies(t *testing.T) {
	e := Entry{File: config("config.a"), Stamp: 5, Version: "1.5", Order: 3, Size: 4}
	record := content{5, []byte("body")}.append(put{entry: e}.append(nil))
	older := bytes.Replace(record, []byte{byte(registry.Serverset), 4, 'b', 'o', 'd', 'y'}, []byte{byte(registry.Serverset), 4, 'b', 'o', 'd', 'z'}, 1)
	ops, err := (&decoder{intern: map[string]string{}}).ops(older) // what it makes of another name is what they make of this one
	if err != nil || len(ops) != 2 {
		t.Fatalf("%v %v", ops, err)
	}
	if _, ok := ops[1].(retitle); !ok {
		t.Errorf("it reads %#v", ops[1])
	}
	x := newIndex(3)
	ops[0].apply(x)
	before := x.checkpoint()
	ops[1].apply(x)
	if !bytes.Equal(x.checkpoint(), before) {
		t.Error("it changes something")
	}

	s := openAt(t, scratch(t), Options{})
	if _, err := s.Commit(Commit{File: File{registry.Serverset, carrier}, Body: []byte("x")}); !isErr(err, registry.ErrInvalid) {
		t.Errorf("commit of the carrier: %v", err)
	}
	if _, err := registry.ParseName(carrier); err == nil {
		t.Error("there can be a serverset of the carrier's name")
	}
	s.Close()

	old := []op{put{entry: Entry{File: e.File, Stamp: 6, Size: 3, SHA256: registry.Sum([]byte("old"))}}}
	if err := errors.Join(os.WriteFile(s.dir.body(6), []byte("old"), 0o644), os.Link(s.dir.body(6), s.dir.plain(e.File)),
		os.WriteFile(s.dir.journal(), appendRecord(nil, old[0].append(nil)), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, s.Dir(), Options{})
	if got := current(t, s, e.File); got != "old" {
		t.Errorf("of an old directory: %q", got)
	}
}

// After damage of the journal a plain file may be adopted, but not one that is nothing but what a power cut left.
func TestAnEmptyFileIsNotAdopted(t *testing.T) {
	for what, c := range map[string]struct {
		left   []byte
		served string
	}{
		"empty": {nil, "the last good"},
		"zeros": {make([]byte, 12), "the last good"},
		"whole": {[]byte("acknowledged"), "acknowledged"},
	} {
		dir := scratch(t)
		f := config("config.a")
		var start int64
		var e Entry
		killed(t, dir, func(s *Store) {
			commit(t, s, f, 1, "the last good")
			start = journalSize(s)
			e = commit(t, s, f, 2, "acknowledged")
		})
		l := layout(dir)
		if err := errors.Join(overwrite(l.body(e.Stamp), c.left, e.Stamp), os.Truncate(l.journal(), start+5)); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, dir, Options{Logger: quiet})
		<-s.repaired
		if got := current(t, s, f) + plain(t, s, f); got != c.served+c.served {
			t.Errorf("%s: served: %q", what, got)
		}
		s.Close()
	}
}
