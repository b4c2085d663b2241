package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// A bad sector in the middle of the journal costs no file: what was current is found again by its plain file, and is fetched again
// since nobody knows its version.
func TestADamagedJournalLosesNoFile(t *testing.T) {
	const files = 12
	name := func(n int) File { return config(fmt.Sprintf("config.n%02d", n)) }
	for what, harm := range map[string]func(journal []byte) []byte{
		"a flipped bit":   func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"a lost sector":   func(b []byte) []byte { clear(b[len(b)/3 : len(b)/3+512]); return b },
		"a lost start":    func(b []byte) []byte { clear(b[:600]); return b },
		"a lost end":      func(b []byte) []byte { clear(b[len(b)-600:]); return b },
		"no journal left": func([]byte) []byte { return nil },
		"only zeros":      func(b []byte) []byte { clear(b); return b },
	} {
		t.Run(what, func(t *testing.T) {
			s := openAt(t, scratch(t), Options{})
			for n := range files {
				commit(t, s, name(n), 1, fmt.Sprint("old ", n))
				commit(t, s, name(n), 2, fmt.Sprint("new ", n))
			}
			g := setGraph(t, s, edges{"web.dep": {"config.n01"}})
			last := s.index.last
			s.Close()
			whole, err := os.ReadFile(s.dir.journal())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.dir.journal(), harm(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			o := Options{Logger: quiet, now: func() time.Time { return time.Unix(1600000000, 0) }} // and the clock is wrong
			s = openAt(t, s.Dir(), o)
			<-s.repaired
			for range 2 {
				for n := range files {
					if got := current(t, s, name(n)) + plain(t, s, name(n)); got != fmt.Sprintf("new %dnew %d", n, n) {
						t.Errorf("file %d: %s", n, got)
					}
				}
				for _, f := range s.Damaged() {
					if e, _ := s.Current(f); e.Order != 0 {
						t.Errorf("%s is fetched again, and yet of order %d", f, e.Order)
					}
				}
				if what == "only zeros" && len(s.Damaged()) != files {
					t.Errorf("to be fetched again: %v", s.Damaged())
				}
				s = reopen(t, s, o)
				<-s.repaired
			}
			if kept, _ := filepath.Glob(s.dir.path("quarantine", "journal-*")); len(kept) != 1 {
				t.Errorf("the damaged journal was not kept: %v", kept)
			}
			if e := commit(t, s, name(0), 3, "later"); e.Stamp <= last {
				t.Errorf("stamp %d after %d", e.Stamp, last)
			}
			again := setGraph(t, s, edges{"other.dep": nil})
			if dir := again.Dirs[0]; dir.ID <= g.Dirs[0].ID+1 {
				t.Errorf("id %d is used again", dir.ID)
			}
		})
	}
}

// A record whose checksum is right and that makes no sense was written by a program that knows more than we do.
func TestAJournalFromTheFutureIsAnErrorAndLeftAlone(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	commit(t, s, config("config.a"), 1, "x")
	<-s.repaired
	if _, err := s.journal.file.WriteAt(appendRecord(nil, []byte{200, 1, 2, 3}), s.journal.size); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, _ := os.ReadFile(s.dir.journal())
	if s, err := Open(s.Dir(), Options{}); !isErr(err, registry.ErrInvalid) {
		t.Errorf("open: %v", err)
		s.Close()
	}
	if after, _ := os.ReadFile(s.dir.journal()); string(after) != string(before) {
		t.Error("it was changed")
	}
}

// Whatever bytes are found in a record, reading them ends, takes no more memory than they are worth, and applying them is safe.
func FuzzRecord(f *testing.F) {
	e := Entry{File: config("config.a"), Stamp: 5, Version: "1.5", Order: -3, Size: 7, Author: "a", Published: time.Unix(0, 0)}
	other := e
	other.Stamp = 6
	g := newGraph([]Dir{{ID: 4096, Name: "web.dep", Links: []Link{{ID: 4097, Edge: "config.a"}}}})
	for _, ops := range [][]op{
		{put{entry: e}, put{entry: other, restored: true}, drop{5}, told{e.File, 6}},
		{put{entry: e}, retitle{file: e.File, version: "2"}, damage{e.File}, remove{file: e.File, stamp: 9, told: 3}},
		{mark{7, 5000}, graphChange{delta: diff(Graph{}, g)}, graphChange{told: true, delta: diff(g, Graph{})}, complete{}},
		{put{entry: e}, content{5, []byte("body...")}},
	} {
		var payload []byte
		for _, o := range ops {
			payload = o.append(payload)
		}
		f.Add(payload)
	}
	f.Add(put{entry: Entry{File: File{9, "a"}}}.append(nil))
	f.Add(remove{file: File{registry.Config, "../../etc/passwd"}}.append(nil))
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := &decoder{intern: map[string]string{}}
		ops, err := d.ops(payload)
		if err != nil {
			return
		}
		x := newIndex(3)
		var again []byte
		for _, o := range ops {
			o.apply(x)
			again = o.append(again)
		}
		for _, kind := range kinds {
			x.list(kind)
		}
		x.checkpoint()
		if once, err := d.ops(again); err != nil || len(once) != len(ops) {
			t.Errorf("written again it reads as %d ops instead of %d: %v", len(once), len(ops), err)
		}
	})
}
