package embedded_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
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
			must(t, os.Rename(path, path+".damaged")) // as the error advises
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
	const rounds = 150
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

func TestAFileThatIsNoRegistryIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }))
	must(t, db.Close())
	if _, err := embedded.Open(other, embedded.Options{}); !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("somebody else's bbolt file: %v", err)
	}
	if _, err := embedded.Open(dir, embedded.Options{}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("a directory: %v", err)
	}
	missing := filepath.Join(dir, "no", "registry.db")
	if _, err := embedded.Open(missing, embedded.Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "directory must exist") {
		t.Errorf("a directory that is missing: %v", err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestAFileHasOneOwner: the error names the process that has it.
func TestAFileHasOneOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	child, _, kill := start(t, "hold", path)
	defer kill()
	_, err := embedded.Open(path, embedded.Options{Timeout: time.Millisecond})
	if !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v", err)
	}
	if locks, _ := os.ReadFile("/proc/locks"); bytes.Contains(locks, fmt.Appendf(nil, " %d ", child.Process.Pid)) &&
		!strings.Contains(err.Error(), fmt.Sprintf("pid %d:", child.Process.Pid)) {
		t.Errorf("the error does not name process %d: %v", child.Process.Pid, err)
	}
	kill()
	open(t, path)
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("kingpin-test", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("KINGPIN_REQUIRE") == "all" {
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func TestAFullDiskKeepsWhatIsThere(t *testing.T) {
	ctx, dir := t.Context(), tmpfs(t, "size=4m")
	path := filepath.Join(dir, "registry.db")
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	p := blacklist.Pointer()
	must(t, r.Create(ctx, p))
	must(t, r.Create(ctx, users.Pointer()))
	must(t, r.Put(ctx, p.Key(version(1)), bodyOf(1, 1)))
	before, err := r.Advance(ctx, p, "", version(1), nil)
	must(t, err)

	big := registry.Body{Data: garbage(5 << 20)}
	for range 3 {
		err := r.Put(ctx, p.Key(version(2)), big)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), path) {
			t.Fatalf("put 5 MiB on 4 MiB: %v", err)
		}
	}
	if _, err := r.Fetch(ctx, p.Key(version(2))); !errors.Is(err, registry.ErrNotExist) {
		t.Errorf("fetch what did not fit: %v", err)
	}
	if s, err := r.State(ctx, p); err != nil || s != before {
		t.Errorf("the pointer is %+v, %v, want %+v", s, err, before)
	}
	for _, m := range comeAndGo(t, r) { // members need no space
		if !m.Exists {
			t.Errorf("membership %+v", m)
		}
	}

	// What fits is taken, now and when the file is opened again.
	must(t, r.Put(ctx, p.Key(version(2)), bodyOf(1, 2)))
	after, err := r.Advance(ctx, p, version(1), version(2), nil)
	must(t, err)
	must(t, r.Close())
	r = open(t, path)
	if s, err := r.State(ctx, p); err != nil || s != after {
		t.Errorf("opened again the pointer is %+v, %v, want %+v", s, err, after)
	}
	if b, err := r.Fetch(ctx, p.Key(version(2))); err != nil || !bytes.Equal(b.Data, bodyOf(1, 2).Data) {
		t.Errorf("opened again the body has %d bytes, %v", len(b.Data), err)
	}
}

func TestNoRegistryOnAFullOrReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, "size=16k")
	path := filepath.Join(dir, "registry.db")
	if _, err := embedded.Open(path, embedded.Options{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"))
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	must(t, r.Close())
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := embedded.Open(path, embedded.Options{}); !errors.Is(err, registry.ErrReadOnly) || !strings.Contains(err.Error(), path) {
		t.Errorf("a read-only disk: %v", err)
	}
	if _, err := embedded.Open(filepath.Join(dir, "new.db"), embedded.Options{}); !errors.Is(err, registry.ErrReadOnly) {
		t.Errorf("a new registry on a read-only disk: %v", err)
	}
}

// TestNoRightToWrite runs as nobody, since root has every right.
func TestNoRightToWrite(t *testing.T) {
	if os.Geteuid() == 0 {
		dir, err := os.MkdirTemp("", "kingpin-embedded")
		must(t, err)
		defer os.RemoveAll(dir)
		must(t, os.Chmod(dir, 0o755))
		binary := filepath.Join(dir, "test")
		data, err := os.ReadFile("/proc/self/exe")
		must(t, err)
		must(t, os.WriteFile(binary, data, 0o755))
		child := exec.Command(binary, "-test.run=^TestNoRightToWrite$")
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		child.Dir = dir
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "registry.db")
	r, err := embedded.Open(path, embedded.Options{})
	must(t, err)
	must(t, r.Close())
	must(t, os.Chmod(path, 0o400))
	if _, err := embedded.Open(path, embedded.Options{}); !errors.Is(err, registry.ErrPermission) || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that may only be read: %v", err)
	}
	must(t, os.Chmod(filepath.Dir(path), 0o500))
	if _, err := embedded.Open(path+"2", embedded.Options{}); !errors.Is(err, registry.ErrPermission) {
		t.Errorf("a directory that may only be read: %v", err)
	}
	must(t, os.Chmod(filepath.Dir(path), 0o700))
}
