package fs

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/kingpinfs/kingpin/registry"
)

// gate is one decider as its users see it: a percent or nothing, and writers who are at it.
type gate struct {
	m       *machine
	name    string
	percent int // below 0: there is no such decider
	token   int // counts versions
	writers []*decision
}

// decision is a descriptor through which somebody writes a decider.
type decision struct {
	file    *os.File
	base    int // the version that it was opened on
	buf     string
	cut     bool // last writer wins
	written bool
	dirty   bool
}

func (g *gate) path() string { return g.m.path("decider/" + g.name) }

func (g *gate) content() string {
	if g.percent < 0 {
		return ""
	}
	return string(registry.FormatDecider(g.percent))
}

func (g *gate) open(t *rapid.T) {
	if len(g.writers) == maxWriters {
		t.Skip("enough is open")
	}
	flags := rapid.SampledFrom([]int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
		os.O_RDWR | os.O_CREATE}).Draw(t, "flags")
	file, err := os.OpenFile(g.path(), flags, 0o644)
	switch {
	case g.percent < 0 && flags&os.O_CREATE == 0:
		if !os.IsNotExist(err) {
			t.Fatalf("open what is not there: %v", err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	d := &decision{file: file, base: g.token, buf: g.content(), cut: g.percent < 0}
	if flags&os.O_TRUNC != 0 {
		d.buf, d.cut = "", true
	}
	g.writers = append(g.writers, d)
}

func (g *gate) some(t *rapid.T) *decision {
	if len(g.writers) == 0 {
		t.Skip("nothing is open")
	}
	return g.writers[rapid.IntRange(0, len(g.writers)-1).Draw(t, "writer")]
}

func (g *gate) write(t *rapid.T) {
	d := g.some(t)
	data := rapid.SampledFrom([]string{"4", "2", "0", "\n", "42\n", "100\n", "7\n", "250\n", "x", " ", "1\n2\n"}).Draw(t, "bytes")
	off := rapid.SampledFrom([]int{0, 0, len(d.buf), len(d.buf), 1}).Draw(t, "offset")
	_, err := retry(func() (int, error) { return unix.Pwrite(int(d.file.Fd()), []byte(data), int64(off)) })
	d.buf += strings.Repeat("\x00", max(0, off-len(d.buf)))
	d.buf = d.buf[:off] + data + d.buf[min(off+len(data), len(d.buf)):]
	d.written, d.dirty = true, true
	complete, refused := registry.ContinueDecider([]byte(d.buf))
	var want error
	switch {
	case refused != nil:
		d.buf, d.dirty = "", false
		want = syscall.EINVAL
	case complete:
		want = g.decide(d)
	}
	if errnoOf(err) != want {
		t.Fatalf("write: %v, want %v", err, want)
	}
}

// decide is what must come of a writer's bytes when they are published.
func (g *gate) decide(d *decision) error {
	percent, err := registry.ParseDecider([]byte(d.buf))
	switch {
	case !d.dirty:
		return nil
	case err != nil:
		d.buf, d.dirty = "", false
		return syscall.EINVAL
	case !d.cut && d.base != g.token:
		d.buf, d.dirty = "", false
		return syscall.ESTALE
	case percent != g.percent:
		g.percent = percent
		g.token++
	}
	d.base, d.dirty = g.token, false
	return nil
}

func (g *gate) truncate(t *rapid.T) {
	d := g.some(t)
	if err := d.file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	d.cut = d.cut || !d.written
	d.buf, d.dirty = "", true
}

func (g *gate) fsync(t *rapid.T) {
	d := g.some(t)
	want := g.decide(d)
	if err := d.file.Sync(); errnoOf(err) != want {
		t.Fatalf("fsync: %v, want %v", err, want)
	}
}

func (g *gate) close(t *rapid.T) {
	d := g.some(t)
	g.writers = slices.DeleteFunc(g.writers, func(other *decision) bool { return other == d })
	want := g.decide(d)
	if err := d.file.Close(); errnoOf(err) != want {
		t.Fatalf("close: %v, want %v", err, want)
	}
}

func (g *gate) rename(t *rapid.T) {
	body := rapid.SampledFrom([]string{"8\n", "9", "101\n", ""}).Draw(t, "bytes")
	scratch := filepath.Join(filepath.Dir(g.path()), ".scratch")
	if err := os.WriteFile(scratch, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	err := os.Rename(scratch, g.path())
	d := &decision{buf: body, cut: true, dirty: true}
	want := g.decide(d)
	if want == syscall.EINVAL {
		want = syscall.EPERM // of a rename
	}
	if errnoOf(err) != want {
		t.Fatalf("rename: %v, want %v", err, want)
	}
	os.Remove(scratch) // there if it was refused
}

func (g *gate) remove(t *rapid.T) {
	out, err := g.m.shell("rm " + g.path()) // a process of its own: one may not remove many
	if (err == nil) != (g.percent >= 0) {
		t.Fatalf("rm: %v: %s", err, out)
	}
	if g.percent >= 0 {
		g.percent = -1
		g.token++
	}
}

func (g *gate) remote(t *rapid.T) {
	g.percent = rapid.IntRange(50, 60).Draw(t, "percent")
	g.token++
	g.m.remoteSoon("decider", g.name, g.content())
	g.m.wantSoon("decider/"+g.name, g.content())
}

// look compares what there is to see with the model.
func (g *gate) look(t *rapid.T) {
	got, err := os.ReadFile(g.path())
	if string(got) != g.content() || (err == nil) != (g.percent >= 0) {
		t.Fatalf("it reads %q, %v; want %q", got, err, g.content())
	}
	listed, err := os.ReadDir(filepath.Dir(g.path()))
	if err != nil {
		t.Fatal(err)
	}
	there := slices.ContainsFunc(listed, func(e os.DirEntry) bool { return e.Name() == g.name })
	if there != (g.percent >= 0) {
		t.Fatalf("listed: %v, want %v", there, g.percent >= 0)
	}
}

// TestDeciderAgainstModel does what comes to mind with a decider: every write is judged by what the file would hold, a complete line is
// published by it, who does not cut the file first loses to whoever came between, and a refusal changes nothing.
func TestDeciderAgainstModel(t *testing.T) {
	m, run := withDeciders(t), 0
	check(t, 25, func(rt *rapid.T) {
		run++
		g := &gate{m: m, name: "model" + strconv.Itoa(run), percent: -1}
		defer func() {
			for _, d := range g.writers {
				d.file.Close()
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"open": g.open, "open too": g.open, "write": g.write, "write on": g.write, "write more": g.write, "write again": g.write,
			"truncate": g.truncate, "fsync": g.fsync, "close": g.close, "rename": g.rename, "remove": g.remove, "remote": g.remote,
			"": g.look,
		})
	})
}
