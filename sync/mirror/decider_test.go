package mirror

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

func TestDecidersAreFilesOfOneMap(t *testing.T) {
	inWorld(t, func(w *world) {
		m := w.boot("a", Options{})
		w.must(m.Ready()) // a registry without deciders is fine
		w.put(registry.DeciderName, `{"new_ranker": 10, "old_ranker": 90}`)
		m.has("decider/new_ranker", "10\n")
		m.has("decider/old_ranker", "90\n")
		m.has("config/"+string(registry.DeciderName), `{"new_ranker": 10, "old_ranker": 90}`)
		untouched, _ := m.entry("decider/old_ranker")

		version := w.put(registry.DeciderName, `{"new_ranker": 11, "old_ranker": 90, "third": 1}`)
		m.has("decider/new_ranker", "11\n")
		m.has("decider/third", "1\n")
		if e, _ := m.entry("decider/old_ranker"); e != untouched {
			t.Errorf("an untouched decider has a new version: %v, was %v", e, untouched)
		}
		if e, _ := m.entry("decider/third"); e.Version != version {
			t.Errorf("decider has version %s, want that of the map, %s", e.Version, version)
		}

		w.put(registry.DeciderName, `{"old_ranker": 90}`)
		m.hasNot("decider/new_ranker")
		m.hasNot("decider/third")
		m.has("decider/old_ranker", "90\n")
		if n := m.Stats().Deciders; n != 1 {
			t.Errorf("%d deciders, want 1", n)
		}
	})
}

// Promise 6.
func TestDecidersThatCannotBeReadKeepTheirValues(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(registry.DeciderName, `{"new_ranker": 10}`)
		m := w.boot("a", Options{})
		w.put(registry.DeciderName, `{"new_ranker": 1`)
		m.has("decider/new_ranker", "10\n")
		m.has("config/"+string(registry.DeciderName), `{"new_ranker": 1`) // the bytes are what they are
		m.Refresh()
		m.said(1, "cannot be read")

		w.put(registry.DeciderName, `{"new_ranker": 12, "../../etc/passwd": 100, "half": "true"}`)
		m.has("decider/new_ranker", "12\n")
		m.said(1, "some entries are no deciders", "passwd")
		if n := m.Stats().Deciders; n != 1 {
			t.Errorf("%d deciders, want 1", n)
		}

		w.put(registry.DeciderName, `{"new_ranker": "off"}`)
		m.has("decider/new_ranker", "12\n")
		w.put(registry.DeciderName, `{}`)
		m.hasNot("decider/new_ranker")
	})
}

// A crash between the commit of the map and the removal of what left it.
func TestDeciderThatOutlivedACrashIsRemoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(registry.DeciderName, `{"new_ranker": 10}`)
		m := w.boot("a", Options{})
		m.has("decider/new_ranker", "10\n")
		_, err := m.disk.Commit(disk.Commit{File: disk.File{Kind: registry.Decider, Name: "zombie"}, Body: []byte("1\n")})
		w.must(err)
		m.halt()
		m = w.boot("a", Options{})
		m.hasNot("decider/zombie")
		m.has("decider/new_ranker", "10\n")
	})
}

func TestBodiesThatWentBadOnDiskAreFetchedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		defer w.join(user, "10.0.0.1:80")()
		w.put(spam, "casino")
		w.put(registry.DeciderName, `{"new_ranker": 10}`)
		m := w.boot("a", follows(web))
		files := map[string]string{
			"config/" + string(spam):                 "casino",
			"config/" + string(registry.DeciderName): `{"new_ranker": 10}`,
			"decider/new_ranker":                     "10\n",
			"serverset/" + string(user):              "10.0.0.1:80\n",
		}
		for file, content := range files {
			m.has(file, content)
		}
		m.halt()
		m = w.boot("a", follows(web))
		for file := range files {
			// The body and the plain file are one: this is what a bad sector does to both.
			w.must(os.WriteFile(filepath.Join(w.dir, "a", "files", file), []byte("rotten"), 0o644))
		}
		for file := range files {
			if e, ok := m.entry(file); ok {
				if body, err := m.disk.OpenBody(e.Stamp); err == nil {
					body.Close()
				}
			}
		}
		for file, content := range files {
			m.has(file, content)
		}
		if n := m.Stats().Damages; n < 4 {
			t.Errorf("%d damages, want at least 4", n)
		}
	})
}

func TestBodyThatWentBadIsFetchedWithoutTheRegistry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.halt()
		m = w.assemble("a", follows(web))
		w.must(os.WriteFile(filepath.Join(w.dir, "a", "files", "config", string(spam)), []byte("rotten"), 0o644))
		m.wire.silent = true // the registry does not answer, the bodies do
		m.run()
		e, _ := m.entry("config/" + string(spam))
		if body, err := m.disk.OpenBody(e.Stamp); err == nil {
			body.Close()
			t.Fatal("a rotten body was opened")
		}
		w.passes(askTimeout + time.Second) // somebody may be asking
		m.has("config/"+string(spam), "casino")
	})
}
