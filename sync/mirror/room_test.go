package mirror

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// TestFullDiskRefusesBeforeItIsPublished: a machine whose disk is full must not publish to the others what it cannot keep itself, nor let
// a writer in who would hear of that at his close.
func TestFullDiskRefusesBeforeItIsPublished(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "needs root to mount a small file system")
	}
	inWorld(t, func(w *world) {
		state := filepath.Join(w.dir, "a")
		w.must(os.Mkdir(state, 0o755))
		if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=4m"); err != nil {
			skip(t, "a small file system cannot be mounted: "+err.Error())
		}
		w.Cleanup(func() { w.must(syscall.Unmount(state, 0)) })
		w.make(web, spam)
		m := w.boot("a", follows(web))
		before := m.publish(write(spam, "small"))
		w.must(m.Reach())

		_, err := m.Publish(w.Context(), write(spam, strings.Repeat("x", 5<<20)))
		w.is(err, syscall.ENOSPC)
		w.same(spam, before)

		filler := filepath.Join(state, "filler")
		_ = os.WriteFile(filler, make([]byte, 5<<20), 0o644) // as much as there is room for
		w.is(m.Reach(), syscall.ENOSPC)
		_, err = m.Publish(w.Context(), write(spam, "other"))
		w.is(err, syscall.ENOSPC)
		w.same(spam, before)
		m.has("config/"+string(spam), "small")

		w.must(os.Remove(filler))
		w.must(m.Reach())
		m.publish(write(spam, "other"))
	})
}

// same makes sure that nobody has published a name.
func (w *world) same(name registry.Name, version registry.Version) {
	w.Helper()
	state, err := w.reg.State(w.Context(), name.Pointer())
	w.must(err)
	if state.Version != version {
		w.Errorf("%s is at %s in the registry, was at %s", name, state.Version, version)
	}
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatalf("skipped: %s", why)
	}
	t.Skip(why)
}
