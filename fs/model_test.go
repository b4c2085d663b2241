package fs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// versions is one config as its users see it: a current version, descriptors that read the version that they opened, and writers
// with bytes of their own.
type versions struct {
	m    *machine
	name string

	token   int    // counts versions
	content string // of the current one
	known   string // its version, as the mount says

	readers []*pinned
	writers []*writer
}

// pinned is a descriptor opened for reading, and what it must show for ever.
type pinned struct {
	file    *os.File
	content string
}

// writer is a descriptor opened for writing.
type writer struct {
	file    *os.File
	base    int    // the version that its bytes were made from
	buf     string // what it would publish
	tail    string // what it appended since then
	cut     bool   // cut to zero before its first byte: last writer wins
	written bool   // a byte was written
	dirty   bool   // there is something to publish
	appends bool   // it has appended and done nothing else
	atEnd   bool   // the descriptor writes at the end whatever happened
	failed  bool   // something was refused: its bytes are gone
}

const (
	maxReaders = 5
	maxWriters = 4
)

var someBody = rapid.Custom(func(t *rapid.T) string {
	word := rapid.StringMatching(`[a-c]{1,3}`).Draw(t, "word")
	return strings.Repeat(word, rapid.SampledFrom([]int{1, 1, 1, 3000}).Draw(t, "times"))
})

func (v *versions) path() string { return v.m.path("config/" + v.name) }

// openToRead pins the current version.
func (v *versions) openToRead(t *rapid.T) {
	if len(v.readers) == maxReaders {
		v.readers[0].file.Close()
		v.readers = v.readers[1:]
	}
	file, err := os.Open(v.path())
	if err != nil {
		t.Fatal(err)
	}
	v.readers = append(v.readers, &pinned{file, v.content})
}

// check reads what a descriptor shows; forget has the kernel ask the server for it once more.
func (p *pinned) check(t *rapid.T, forget bool) {
	if forget {
		if err := unix.Fadvise(int(p.file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(io.NewSectionReader(p.file, 0, 1<<20))
	if err != nil || string(got) != p.content {
		t.Fatalf("a descriptor reads %.100q, %v; it was opened on %.100q", got, err, p.content)
	}
	if info, err := p.file.Stat(); err != nil || info.Size() != int64(len(p.content)) {
		t.Fatalf("a descriptor of %d bytes: %v, %v", len(p.content), info, err)
	}
}

func (v *versions) openToWrite(t *rapid.T) {
	if len(v.writers) == maxWriters {
		t.Skip("enough is open")
	}
	flags := rapid.SampledFrom([]int{os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_CREATE | os.O_TRUNC,
		os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREATE | os.O_APPEND}).Draw(t, "flags")
	file, err := os.OpenFile(v.path(), flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{file: file, base: v.token, buf: v.content, atEnd: flags&os.O_APPEND != 0, appends: flags&os.O_APPEND != 0}
	if flags&os.O_TRUNC != 0 {
		w.buf, w.cut = "", true
	}
	v.writers = append(v.writers, w)
}

func (v *versions) some(t *rapid.T) *writer {
	if len(v.writers) == 0 {
		t.Skip("nothing is open")
	}
	return v.writers[rapid.IntRange(0, len(v.writers)-1).Draw(t, "writer")]
}

func (v *versions) write(t *rapid.T) {
	w, data := v.some(t), someBody.Draw(t, "bytes")
	off := rapid.SampledFrom([]int64{0, 0, 1, 50}).Draw(t, "offset")
	n, err := retry(func() (int, error) { return unix.Pwrite(int(w.file.Fd()), []byte(data), off) })
	switch {
	case w.failed && err == nil:
		t.Fatal("a write succeeded after bytes of this descriptor were lost")
	case w.failed:
		return
	case err != nil || n != len(data):
		t.Fatalf("write: %d, %v", n, err)
	case w.atEnd:
		w.buf += data
		w.tail += data
	default:
		w.buf += strings.Repeat("\x00", max(0, int(off)-len(w.buf)))
		w.buf = w.buf[:off] + data + w.buf[min(int(off)+len(data), len(w.buf)):]
	}
	w.written, w.dirty = true, true
}

func (v *versions) ftruncate(t *rapid.T) {
	w, size := v.some(t), rapid.SampledFrom([]int{0, 0, 1, 2, 100}).Draw(t, "size")
	err := w.file.Truncate(int64(size))
	switch {
	case w.failed && err == nil:
		t.Fatal("a truncation succeeded after bytes of this descriptor were lost")
	case w.failed:
		return
	case err != nil:
		t.Fatal(err)
	}
	w.cut = w.cut || size == 0 && !w.written
	w.buf = (w.buf + strings.Repeat("\x00", size))[:size]
	w.dirty, w.appends = true, false
}

// publish is what must come of a writer's bytes.
func (v *versions) publish(w *writer) (next string, err error) {
	switch {
	case w.failed:
		return v.content, syscall.EIO
	case !w.dirty:
		return v.content, nil
	case w.cut || w.base == v.token:
		return w.buf, nil
	case w.appends:
		return v.content + w.tail, nil
	}
	return v.content, syscall.ESTALE
}

// settle is what is true afterwards.
func (v *versions) settle(w *writer, next string, err error) {
	if err != nil {
		w.failed, w.dirty = true, false
		return
	}
	if next != v.content {
		v.token++
		v.content = next
	}
	if w.dirty {
		w.base, w.buf, w.tail, w.dirty = v.token, next, "", false
	}
}

func (v *versions) fsync(t *rapid.T) {
	w := v.some(t)
	next, want := v.publish(w)
	if err := w.file.Sync(); (err == nil) != (want == nil) || want == syscall.ESTALE && errnoOf(err) != want {
		t.Fatalf("fsync: %v, want %v", err, want)
	}
	v.settle(w, next, want)
}

func (v *versions) close(t *rapid.T) {
	w := v.some(t)
	v.drop(w)
	next, want := v.publish(w)
	if err := w.file.Close(); !w.failed && errnoOf(err) != want {
		t.Fatalf("close: %v, want %v", err, want)
	}
	v.settle(w, next, want)
}

func (v *versions) drop(w *writer) {
	v.writers = slices.DeleteFunc(v.writers, func(other *writer) bool { return other == w })
}

// rename writes a scratch file and renames it over the config. Who keeps it open, has the config open then.
func (v *versions) rename(t *rapid.T) {
	body, keep := someBody.Draw(t, "bytes"), rapid.Bool().Draw(t, "keep") && len(v.writers) < maxWriters
	file := v.scratch(t, body)
	if err := os.Rename(file.Name(), v.path()); err != nil {
		t.Fatal(err)
	}
	w := &writer{file: file, buf: body, written: true, dirty: true}
	v.settle(w, body, nil)
	if keep {
		v.writers = append(v.writers, w)
	} else if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func (v *versions) scratch(t *rapid.T, body string) *os.File {
	file, err := os.Create(filepath.Join(filepath.Dir(v.path()), ".scratch"))
	if err == nil {
		_, err = file.WriteString(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// remote publishes from elsewhere; the same bytes are another version there too, and nothing to see here.
func (v *versions) remote(t *rapid.T) {
	v.becomes(rapid.OneOf(someBody, rapid.Just(v.content)).Draw(t, "bytes"))
}

// becomes publishes from elsewhere and waits until it is here.
func (v *versions) becomes(body string) {
	v.m.becomes("config", v.name, body)
	v.token++
	v.content = body
	v.known = ""
}

// look compares everything there is to see with the model.
func (v *versions) look(t *rapid.T) {
	got, err := os.ReadFile(v.path())
	if err != nil || string(got) != v.content {
		t.Fatalf("it reads %.100q, %v; want %.100q", got, err, v.content)
	}
	forget := rapid.IntRange(0, 3).Draw(t, "forget") == 0
	for _, p := range v.readers {
		p.check(t, forget)
	}
	for _, w := range v.writers {
		if rapid.IntRange(0, 9).Draw(t, "stat") > 0 {
			continue // it tells the kernel the size, and appends depend on that
		}
		if info, err := w.file.Stat(); err != nil || !w.failed && info.Size() != int64(len(w.buf)) {
			t.Fatalf("a writer of %d bytes: %v, %v", len(w.buf), info, err)
		}
	}
}

// count makes sure that the version changed iff one was made.
func (v *versions) count(t *rapid.T, before int) {
	known := v.m.version("config/" + v.name)
	if v.known != "" && (known != v.known) != (v.token != before) {
		t.Fatalf("version %s, then %s; %d were made", v.known, known, v.token-before)
	}
	v.known = known
}

// kill kills the server between two operations, or while a writer publishes. What reads goes on; what was written and not
// published is lost, and its writer is told.
func (v *versions) kill(t *rapid.T) {
	if rapid.IntRange(0, 1).Draw(t, "spare") == 0 {
		t.Skip("not now: each kill takes a while")
	}
	if len(v.writers) > 0 && rapid.Bool().Draw(t, "while publishing") {
		v.killBeside(t)
	} else {
		v.m.killServer()
	}
	for _, w := range v.writers {
		v.bury(t, w)
	}
	v.writers = nil
}

// killBeside kills the server while a writer publishes, by fsync, close or rename. Success means that it is there; after an error it
// may be there or not, but never in part.
func (v *versions) killBeside(t *rapid.T) {
	w := v.some(t)
	how := rapid.SampledFrom([]string{"fsync", "close", "rename"}).Draw(t, "how")
	body, wait := someBody.Draw(t, "bytes"), rapid.IntRange(0, 8).Draw(t, "milliseconds")
	next, want := v.publish(w)
	publish := w.file.Sync
	switch how {
	case "close":
		v.drop(w)
		publish = w.file.Close
	case "rename":
		file := v.scratch(t, body)
		defer file.Close()
		w, next, want = &writer{file: file, buf: body, dirty: true}, body, nil
		publish = func() error { return os.Rename(file.Name(), v.path()) }
	}
	wasDirty := w.dirty
	v.m.order("/hold?name="+v.name, "4ms")
	ended := make(chan error, 1)
	go func() { ended <- publish() }()
	<-time.After(time.Duration(wait) * time.Millisecond)
	v.m.killServer()
	err := <-ended
	// What was committed before the kill and not announced is seen once the next server has announced it: by then it is one or the other.
	eventually(v.m.t, "what the dead server has left is announced", func() bool { return v.m.tryOrder("/quiet", "") == nil })
	got, readErr := os.ReadFile(v.path())
	switch {
	case readErr != nil:
		t.Fatal(readErr)
	case err == nil && want != nil && !w.failed:
		t.Fatalf("%s succeeded; want %v", how, want)
	case err == nil && wasDirty && string(got) != next:
		t.Fatalf("%s succeeded; it reads %.100q, want %.100q", how, got, next)
	case string(got) != next && string(got) != v.content:
		t.Fatalf("%s: %v; it reads %.100q, neither %.100q nor %.100q", how, err, got, v.content, next)
	}
	if string(got) != v.content {
		v.token++
		v.content = string(got)
	}
	w.tail, w.dirty = "", wasDirty && err != nil
	if err != nil { // the dead server may have made a version and told nobody: the next one shows it soon, unless something comes after it
		v.becomes(fmt.Sprintf("after kill %d", v.token))
	}
}

// bury makes sure that a descriptor of a dead server's draft says so, and publishes nothing.
func (v *versions) bury(t *rapid.T, w *writer) {
	var err error
	switch how := rapid.SampledFrom([]string{"write", "truncate", "fsync", "close"}).Draw(t, "next"); how {
	case "write":
		_, err = w.file.WriteString("more")
	case "truncate":
		err = w.file.Truncate(1)
	case "fsync":
		err = w.file.Sync()
	case "close":
		err = w.file.Close()
	}
	if err == nil && w.dirty {
		t.Fatal("what was written is lost, and nobody was told")
	}
	w.file.Close()
}

// TestConfigAgainstVersions does what comes to mind with a config, kills the server now and then, and expects every reader to see its
// version, every writer to be told what became of its bytes, and as many versions as were made.
func TestConfigAgainstVersions(t *testing.T) {
	m, run := start(t), 0
	check(t, 25, func(rt *rapid.T) {
		run++
		v := &versions{m: m, name: fmt.Sprintf("config.manageddata.model.number%d", run), content: "first"}
		m.becomes("config", v.name, v.content)
		v.known = m.version("config/" + v.name)
		defer func() {
			for _, p := range v.readers {
				p.file.Close()
			}
			for _, w := range v.writers {
				w.file.Close()
			}
		}()
		before := v.token
		rt.Repeat(map[string]func(*rapid.T){
			"read": v.openToRead, "open": v.openToWrite, "open too": v.openToWrite, "write": v.write, "write on": v.write,
			"write more": v.write, "ftruncate": v.ftruncate, "fsync": v.fsync, "fsync too": v.fsync, "close": v.close, "rename": v.rename,
			"remote": v.remote, "kill": v.kill,
			"": func(t *rapid.T) {
				v.look(t)
				v.count(t, before)
				before = v.token
			},
		})
	})
}
