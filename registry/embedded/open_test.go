package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

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
