package disk

import (
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

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// skip is for what a machine lacks. Where everything is required, to lack it is a failure.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// tree is every path below dir with its size, to see that nothing was touched.
func tree(t *testing.T, dir string) string {
	t.Helper()
	text := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		text += fmt.Sprintln(path, info.Size(), info.Mode(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOpenRefusesWhatItMustNotTouch(t *testing.T) {
	used := openAt(t, scratch(t), Options{})
	commit(t, used, config("config.a"), 1, "precious")
	for _, c := range []struct {
		name  string
		setup func(dir string) error
		says  string
		is    error
	}{
		{"a directory of a newer program", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/FORMAT", []byte("kingpin state 2\n"), 0o644),
				os.WriteFile(dir+"/journal", []byte("who knows"), 0o644))
		}, "has format 2 and this program knows formats up to 1; run the newer program", registry.ErrInvalid},
		{"a directory whose FORMAT is another program's", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/FORMAT", []byte("ext4"), 0o644))
		}, `FORMAT says "ext4", which is not KingPin's`, registry.ErrInvalid},
		{"a directory with somebody's files in it", func(dir string) error {
			return errors.Join(os.MkdirAll(dir+"/files/mine", 0o755), os.WriteFile(dir+"/files/mine/thesis", []byte("x"), 0o644))
		}, "has files but no FORMAT, so it is not KingPin's", registry.ErrInvalid},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o644) }, "not a directory", syscall.ENOTDIR},
		{"a directory that is open already", func(dir string) error { return os.Symlink(used.Dir(), dir) },
			fmt.Sprintf("is in use by process %d", os.Getpid()), unix.EWOULDBLOCK},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := c.setup(dir); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			s, err := Open(dir, Options{LockWait: -1})
			if err == nil {
				s.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), c.says) || !errors.Is(err, c.is) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error is %q, which does not say %q of %s or is no %v", err, c.says, dir, c.is)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("it was touched:\n%s\nwas\n%s", after, before)
			}
		})
	}
	if got := current(t, used, config("config.a")); got != "precious" {
		t.Errorf("current is %q", got)
	}
}

// A server that just died may hold the directory for a moment longer than its successor takes to start.
func TestOpenWaitsForAProcessThatIsJustEnding(t *testing.T) {
	dir := scratch(t)
	first := openAt(t, dir, Options{})
	opened := make(chan error)
	go func() {
		second, err := Open(dir, Options{LockWait: 10 * time.Second})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	first.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// The registry's file and the control socket live in the same directory.
func TestOtherFilesInTheDirectoryAreLeftAlone(t *testing.T) {
	dir := scratch(t)
	if err := errors.Join(os.WriteFile(dir+"/registry.db", []byte("bolt"), 0o600), os.Mkdir(dir+"/mnt", 0o755)); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir, Options{})
	commit(t, s, config("config.a"), 1, "x")
	s = reopen(t, s, Options{})
	<-s.repaired
	if b, err := os.ReadFile(dir + "/registry.db"); err != nil || string(b) != "bolt" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := os.Stat(dir + "/mnt"); err != nil {
		t.Error(err)
	}
}

// Somebody who may not read the directory hears so, and of which directory.
func TestADirectoryOfSomebodyElseIsAnError(t *testing.T) {
	if dir := os.Getenv("KINGPIN_DISK_FORBIDDEN"); dir != "" {
		_, err := Open(dir, Options{})
		fmt.Println("error:", err, errors.Is(err, fs.ErrPermission))
		return
	}
	if os.Getuid() != 0 {
		skip(t, "needs root to become somebody else")
	}
	dir := scratch(t)
	s := openAt(t, dir, Options{})
	s.Close()
	for _, mode := range []fs.FileMode{0o700, 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(t.TempDir(), "test")
		copyTest(t, binary)
		cmd := exec.Command(binary, "-test.run=^TestADirectoryOfSomebodyElseIsAnError$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "KINGPIN_DISK_FORBIDDEN="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "error: state directory "+dir) || !strings.Contains(string(out), "permission denied true") {
			t.Errorf("mode %v: %v\n%s", mode, err, out)
		}
	}
}

// copyTest puts this program where everybody may run it.
func copyTest(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(to); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// A disk that became read only is still good for reading, and a write says what is the matter.
func TestAReadOnlyFileSystemIsStillRead(t *testing.T) {
	dir := mountTmpfs(t, "4m")
	f := config("config.a")
	s := openAt(t, dir+"/state", Options{})
	commit(t, s, f, 1, "one")
	s.Close()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir+"/state", Options{Logger: quiet})
	if got := current(t, s, f); got != "one" {
		t.Errorf("current is %q", got)
	}
	if _, err := s.Commit(Commit{File: f, Order: 2, Body: []byte("two")}); !errors.Is(err, unix.EROFS) {
		t.Errorf("commit: %v", err)
	}
	s.Announced(s.Unannounced()[0].Stamp)
	s.Close()
}

// mountTmpfs mounts a small file system for one test.
func mountTmpfs(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		skip(t, fmt.Sprintf("a small file system cannot be mounted: %v", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
