package mirror

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestDeletedNodeKeepsTheFile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		w.must(w.reg.Delete(w.Context(), spam.Pointer()))
		m.has("config/"+string(spam), "casino")
		m.isIn(spam, Held, "deleted")
		m.lists(web, registry.Edge(spam))

		w.must(w.reg.Create(w.Context(), spam.Pointer())) // somebody makes it anew, empty
		m.has("config/"+string(spam), "casino")
		m.isIn(spam, Held, "never written")

		w.passes(time.Second) // the token tells the time
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "roulette")
		m.isIn(spam, Current)
		m.said(1, "up to date again", string(spam))
	})
}

func TestDependencyDeletedWithMembersIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.halt()
		m = w.assemble("a", Options{Dependencies: []registry.Dependency{web}, Create: true})
		m.wire.edges = func(d registry.Dependency, e registry.Edges) registry.Edges { return registry.Edges{} }
		m.run()
		w.passes(time.Hour)
		m.has("config/"+string(spam), "casino")
		m.lists(web, registry.Edge(spam))
		m.said(1, "held", "web.dep")
	})
}

func TestRegistryRestoredFromABackupIsNotFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		w.must(w.reg.Close())
		file := filepath.Join(w.dir, "registry.db")
		backup, err := os.ReadFile(file)
		w.must(err)
		w.openRegistry()
		w.put(spam, "roulette")
		m := w.boot("a", follows(web))
		m.halt()
		w.must(w.reg.Close())
		w.must(os.WriteFile(file, backup, 0o600))
		w.openRegistry()

		m = w.boot("a", follows(web))
		m.has("config/"+string(spam), "roulette")
		m.isIn(spam, Held, "went back", "restored")
		_, err = m.Publish(w.Context(), Publication{Name: spam, Body: []byte("mine")})
		w.is(err, registry.ErrInvalid)
		m.has("config/"+string(spam), "roulette")
	})
}

func TestBodyThatFailsItsChecksumIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return registry.ErrChecksum } })
		w.put(spam, "roulette")
		m.has("config/"+string(spam), "casino")
		m.isIn(spam, Held, "checksum")
		m.wire.set(func(c *wire) { c.fetch = nil }) // it was the way here
		w.passes(time.Minute)
		m.has("config/"+string(spam), "roulette")
	})
}

func TestBodyOverTheLimitIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "casino")
		m := w.boot("a", Options{Dependencies: []registry.Dependency{web}, MaxBody: 10})
		w.put(spam, "12345678901")
		m.has("config/"+string(spam), "casino")
		m.isIn(spam, Held, "11 bytes", "at most 10")
		before := len(m.wire.fetched)
		w.passes(10 * time.Minute)
		if again := len(m.wire.fetched) - before; again > 1 { // an audit may come by
			t.Errorf("fetched %d times more: a version does not shrink", again)
		}
		w.put(spam, "short")
		m.has("config/"+string(spam), "short")
	})
}
