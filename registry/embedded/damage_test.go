package embedded_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
)

// names is how many a filled registry has.
const names = 100

// filled writes a registry of names, edges and bodies, and returns its file's bytes.
func filled(t testing.TB, path string) []byte {
	t.Helper()
	ctx := t.Context()
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	must(t, r.CreateDependency(ctx, "web.dep"))
	for i := range names {
		n := numbered(i)
		must(t, r.Create(ctx, n.Pointer()))
		must(t, r.Create(ctx, n.Metaconfig()))
		must(t, r.Link(ctx, "web.dep", registry.Edge(n)))
		must(t, r.Put(ctx, n.Pointer().Key(version(1)), bodyOf(i, 1)))
		if _, err := r.Advance(ctx, n.Pointer(), "", version(1), nil); err != nil {
			t.Fatal(err)
		}
	}
	must(t, r.Close())
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func numbered(i int) registry.Name {
	return registry.Name(fmt.Sprintf("config.manageddata.many.key%05d", i))
}

func version(n int) registry.Version {
	return registry.NextVersion(time.Unix(1795296152, int64(n)), "")
}

// bodyOf is the one body that may ever be seen under the key of a name and a version.
func bodyOf(i, n int) registry.Body {
	data := bytes.Repeat(fmt.Appendf(nil, "body %d of %d\n", n, i), 1+i%7*40)
	return registry.Body{Data: data, Meta: registry.Meta{SHA256: registry.Sum(data), Author: fmt.Sprint("author of ", i)}}
}

func TestADamagedFileIsRefusedInWords(t *testing.T) {
	good := filled(t, filepath.Join(t.TempDir(), "registry.db"))
	for name, data := range map[string][]byte{
		"empty":                   {},
		"one byte":                good[:1],
		"half a page":             good[:2048],
		"one page":                good[:4096],
		"two pages":               good[:8192],
		"cut in the middle":       good[:len(good)/2],
		"cut by a page":           good[:usedPages(good)-4096],
		"text":                    bytes.Repeat([]byte("not a registry\n"), 10_000),
		"zeros":                   make([]byte, len(good)),
		"zeros behind the header": slices.Concat(good[:8192], make([]byte, len(good)-8192)),
		"garbage behind it":       slices.Concat(good[:8192], garbage(len(good)-8192)),
		"the header zeroed":       slices.Concat(make([]byte, 8192), good[8192:]),
		"its first half missing":  good[len(good)/2:],
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "registry.db")
			must(t, os.WriteFile(path, data, 0o600))
			r, err := embedded.Open(path, embedded.Options{})
			if err == nil {
				r.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, embedded.ErrDamaged) {
				t.Errorf("not ErrDamaged: %v", err)
			}
			for _, word := range []string{path, "restore it", "move it away", "stay readable"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is more than a line: %q", err)
			}
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, data) {
				t.Errorf("what was refused has been changed: %v", err)
			}
			must(t, os.WriteFile(path, good, 0o600)) // as the error advises
			open(t, path)
		})
	}
}

// usedPages is where the pages end that are in use: bbolt's file may be longer.
func usedPages(file []byte) int {
	return (len(bytes.TrimRight(file, "\x00")) + 4095) / 4096 * 4096
}

func garbage(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// TestADamagedPageIsFoundNotServed spoils a good file in many places. Whatever is still handed out must be what was written.
func TestADamagedPageIsFoundNotServed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "registry.db")
	good := filled(t, path)
	used := usedPages(good)
	random := rand.New(rand.NewPCG(1, 2))
	const rounds = 90
	refused, found, harmless := 0, 0, 0
	for round := range rounds {
		data := bytes.Clone(good)
		at := random.IntN(used)
		switch round % 3 {
		case 0: // a bit
			data[at] ^= 1 << random.IntN(8)
		case 1: // a few bytes
			copy(data[at:], garbage(1+random.IntN(64)))
		case 2: // a page
			at -= at % 4096
			clear(data[at : at+4096])
		}
		spoilt := filepath.Join(dir, fmt.Sprintf("spoilt%d.db", round))
		must(t, os.WriteFile(spoilt, data, 0o600))
		r, err := embedded.Open(spoilt, embedded.Options{})
		if err != nil {
			if !errors.Is(err, embedded.ErrDamaged) && !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("damage at byte %d: %v", at, err)
			}
			refused++
			continue
		}
		if n := readAll(t, r); n > 0 {
			found++
		} else {
			harmless++
		}
		writeAll(t, r)
		if err := r.Close(); err != nil && !errors.Is(err, embedded.ErrDamaged) {
			t.Errorf("damage at byte %d: close: %v", at, err)
		}
		must(t, os.Remove(spoilt))
	}
	t.Logf("of %d damaged files %d were refused, %d found damaged later, %d damaged where nothing was", rounds, refused, found, harmless)
	if refused == 0 || found == 0 {
		t.Error("no damage was found")
	}
}

// TestADamagedSignpostHidesNoName spoils the keys by which bbolt finds its way. A name that is there but cannot be found would look
// like one that somebody has removed.
func TestADamagedSignpostHidesNoName(t *testing.T) {
	dir := t.TempDir()
	good := filled(t, filepath.Join(dir, "registry.db"))
	refused := 0
	for page := 0; page < usedPages(good); page += 4096 {
		// A page is its number, flags (1: branches), a count of elements; an element is the offset and size of its key, and where it leads.
		flags, count := binary.NativeEndian.Uint16(good[page+8:]), binary.NativeEndian.Uint16(good[page+10:])
		if flags != 1 || count < 2 {
			continue
		}
		data := bytes.Clone(good)
		element := page + 16 + 16*int(count/2)
		key := element + int(binary.NativeEndian.Uint32(data[element:]))
		data[key+int(binary.NativeEndian.Uint32(data[element+4:]))-1] += 2
		spoilt := filepath.Join(dir, fmt.Sprintf("spoilt%d.db", page))
		must(t, os.WriteFile(spoilt, data, 0o600))
		r, err := embedded.Open(spoilt, embedded.Options{})
		if err != nil {
			refused++
			continue
		}
		for i := range names {
			if s, err := r.State(t.Context(), numbered(i).Pointer()); err != nil || !s.Exists {
				t.Errorf("page %d: %s is %+v, %v", page/4096, numbered(i).Pointer(), s, err)
			}
		}
		must(t, r.Close())
	}
	if refused == 0 {
		t.Error("no damage was found")
	}
}

// readAll reads every name and body, and returns how many could not be read. It fails if one is read wrong.
func readAll(t *testing.T, r *embedded.Registry) (damaged int) {
	t.Helper()
	for i := range names {
		p := numbered(i).Pointer()
		s, err := r.State(t.Context(), p)
		switch {
		case errors.Is(err, embedded.ErrDamaged):
			damaged++
		case err != nil || s.Version != version(1):
			t.Errorf("%s is %+v, %v", p, s, err)
		}
		switch b, err := r.Fetch(t.Context(), p.Key(version(1))); {
		case errors.Is(err, embedded.ErrDamaged), errors.Is(err, registry.ErrNotExist):
			damaged++
		case err != nil || !bytes.Equal(b.Data, bodyOf(i, 1).Data) || b.Meta != bodyOf(i, 1).Meta:
			t.Errorf("the body of %s is %.40q, %+v, %v", p, b.Data, b.Meta, err)
		}
	}
	return damaged
}

// writeAll must come back from every write, however it ends.
func writeAll(t *testing.T, r *embedded.Registry) {
	t.Helper()
	for i := range 5 {
		p := numbered(i * 20).Pointer()
		putErr := r.Put(t.Context(), p.Key(version(2)), bodyOf(i*20, 2))
		_, advanceErr := r.Advance(t.Context(), p, version(1), version(2), nil)
		for _, err := range []error{putErr, advanceErr} {
			if err != nil && !errors.Is(err, embedded.ErrDamaged) && !errors.Is(err, registry.ErrNotExist) {
				t.Errorf("write %s: %v", p, err)
			}
		}
	}
}

// TestTheFileIsSpoiltWhileItIsOpen by somebody who does not know whose it is. bbolt reads it through a memory map, where that is a
// fault, and may never let go of its locks.
func TestTheFileIsSpoiltWhileItIsOpen(t *testing.T) {
	good := filled(t, filepath.Join(t.TempDir(), "registry.db"))
	for name, spoil := range map[string]func(path string, size int64) error{
		"cut to nothing":         func(path string, _ int64) error { return os.Truncate(path, 0) },
		"cut behind its header":  func(path string, _ int64) error { return os.Truncate(path, 8192) },
		"zeroed":                 func(path string, size int64) error { return overwrite(path, make([]byte, size), 0) },
		"zeroed behind a header": func(path string, size int64) error { return overwrite(path, make([]byte, size), 8192) },
		"overwritten":            func(path string, size int64) error { return overwrite(path, garbage(int(size)), 0) },
		"overwritten behind it":  func(path string, size int64) error { return overwrite(path, garbage(int(size)), 8192) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "registry.db")
			must(t, os.WriteFile(path, good, 0o600))
			r, err := embedded.Open(path, embedded.Options{})
			must(t, err)
			ctx, p := t.Context(), numbered(1).Pointer()
			must(t, spoil(path, int64(len(good))))
			for range 2 {
				_, stateErr := r.State(ctx, p)
				_, fetchErr := r.Fetch(ctx, p.Key(version(1)))
				_, advanceErr := r.Advance(ctx, p, version(1), version(2), nil)
				_, namesErr := r.Names(ctx)
				for step, err := range map[string]error{
					"state": stateErr, "fetch": fetchErr, "advance": advanceErr, "names": namesErr,
					"create": r.Create(ctx, "/new"), "put": r.Put(ctx, "new", registry.Body{Data: []byte("x")}),
					"link": r.Link(ctx, "web.dep", "web.dep"), "join": r.Join(ctx, users, registry.Member{Endpoint: "10.0.0.1:9090"}),
				} {
					if !errors.Is(err, embedded.ErrDamaged) {
						t.Errorf("%s: %v", step, err)
					}
				}
			}
			for _, err := range r.Watch(ctx, p) {
				if !errors.Is(err, embedded.ErrDamaged) {
					t.Errorf("watch: %v", err)
				}
				break
			}
			if err := r.Close(); err != nil && !errors.Is(err, embedded.ErrDamaged) {
				t.Errorf("close: %v", err)
			}
			must(t, os.WriteFile(path, good, 0o600)) // as the error advises
			if n := readAll(t, open(t, path)); n > 0 {
				t.Errorf("%d of %d cannot be read after the file was restored", n, names)
			}
		})
	}
}

func overwrite(path string, data []byte, from int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data[from:], from)
	return errors.Join(err, f.Close())
}

// TestARottenBodyIsPutAgain: a mirror that still has the bytes can heal what has rotted.
func TestARottenBodyIsPutAgain(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "registry.db")
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	body := registry.Body{Data: bytes.Repeat([]byte("0123456789abcdef"), 8192), Meta: registry.Meta{Author: "the first"}}
	must(t, r.Put(ctx, "data/key", body))
	must(t, r.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(file, body.Data[:1024])
	file[at+512] ^= 1
	must(t, os.WriteFile(path, file, 0o600))

	r = open(t, path)
	_, err = r.Fetch(ctx, "data/key")
	if !errors.Is(err, registry.ErrChecksum) || !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("fetch: %v", err)
	}
	must(t, r.Put(ctx, "data/key", registry.Body{Data: body.Data, Meta: registry.Meta{Author: "the second"}}))
	if got, err := r.Fetch(ctx, "data/key"); err != nil || !bytes.Equal(got.Data, body.Data) || got.Meta != body.Meta {
		t.Errorf("fetch again: %d bytes, %+v, %v", len(got.Data), got.Meta, err)
	}
}
