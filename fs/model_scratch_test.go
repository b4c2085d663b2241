package fs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// check runs a property a number of times; ten times as often in a soak.
func check(t *testing.T, runs int, property func(*rapid.T)) {
	t.Helper()
	if os.Getenv("KINGPIN_SOAK") != "" {
		runs *= 10
	}
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(runs), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, property)
}

// two is an open file twice: on the mount, and in a plain directory where the same was done.
type two [2]*os.File

// twins are the two directories.
type twins struct {
	dirs  [2]string
	files []two
}

var (
	someName   = rapid.SampledFrom([]string{".a", ".b", ".c"})
	someAccess = rapid.SampledFrom([]int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR})
	someFlags  = rapid.SampledFrom([]int{0, os.O_CREATE, os.O_CREATE, os.O_CREATE | os.O_EXCL, os.O_TRUNC, os.O_CREATE | os.O_TRUNC,
		os.O_APPEND, os.O_CREATE | os.O_APPEND, os.O_CREATE | os.O_TRUNC | os.O_APPEND})
	someBytes = rapid.Custom(func(t *rapid.T) []byte {
		return bytes.Repeat([]byte(rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "word")), rapid.SampledFrom([]int{1, 1, 1, 1000}).Draw(t, "times"))
	})
	someOffset = rapid.SampledFrom([]int64{0, 0, 1, 5, 100, 4095, 4096, 10000})
)

const maxOpen = 6

// both does something on either side, and compares what comes of it.
func (tw *twins) both(t *rapid.T, what string, do func(side int) (string, error)) {
	mount, err := do(0)
	plain, want := do(1)
	if errnoOf(err) != errnoOf(want) {
		t.Fatalf("%s: %v on the mount, %v in a plain directory", what, err, want)
	}
	if mount != plain {
		t.Fatalf("%s: %.200q on the mount, %.200q in a plain directory", what, mount, plain)
	}
}

func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// some draws one of the open files; there is nothing to do without.
func (tw *twins) some(t *rapid.T) two {
	if len(tw.files) == 0 {
		t.Skip("nothing is open")
	}
	return rapid.SampledFrom(tw.files).Draw(t, "file")
}

func (tw *twins) path(side int, name string) string { return filepath.Join(tw.dirs[side], name) }

// opened keeps a file that could be opened.
func (tw *twins) opened(t *rapid.T, what string, open func(side int) (*os.File, error)) {
	if len(tw.files) == maxOpen {
		t.Skip("enough is open")
	}
	var f two
	tw.both(t, what, func(side int) (_ string, err error) {
		f[side], err = open(side)
		return "", err
	})
	if f[0] != nil {
		tw.files = append(tw.files, f)
	}
}

func (tw *twins) open(t *rapid.T) {
	name, flags := someName.Draw(t, "name"), someAccess.Draw(t, "access")|someFlags.Draw(t, "flags")
	tw.opened(t, fmt.Sprintf("open %s with %#x", name, flags), func(side int) (*os.File, error) {
		return os.OpenFile(tw.path(side, name), flags, 0o600)
	})
}

// reopen goes through /proc, where a file without a name has one.
func (tw *twins) reopen(t *rapid.T) {
	f, flags := tw.some(t), someAccess.Draw(t, "access")|rapid.SampledFrom([]int{0, 0, os.O_TRUNC, os.O_APPEND}).Draw(t, "flags")
	tw.opened(t, fmt.Sprintf("open again with %#x", flags), func(side int) (*os.File, error) {
		return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f[side].Fd()), flags, 0)
	})
}

func (tw *twins) dup(t *rapid.T) {
	f := tw.some(t)
	tw.opened(t, "dup", func(side int) (*os.File, error) {
		fd, err := unix.Dup(int(f[side].Fd()))
		return os.NewFile(uintptr(fd), f[side].Name()), err
	})
}

func (tw *twins) close(t *rapid.T) {
	f := tw.some(t)
	tw.files = slices.DeleteFunc(tw.files, func(other two) bool { return other == f })
	tw.both(t, "close", func(side int) (string, error) { return "", f[side].Close() })
}

func (tw *twins) write(t *rapid.T) {
	f, data := tw.some(t), someBytes.Draw(t, "bytes")
	tw.both(t, "write", func(side int) (string, error) {
		n, err := retry(func() (int, error) { return unix.Write(int(f[side].Fd()), data) })
		return fmt.Sprint(n), err
	})
}

func (tw *twins) pwrite(t *rapid.T) {
	f, data, off := tw.some(t), someBytes.Draw(t, "bytes"), someOffset.Draw(t, "offset")
	tw.both(t, "pwrite", func(side int) (string, error) {
		n, err := retry(func() (int, error) { return unix.Pwrite(int(f[side].Fd()), data, off) })
		return fmt.Sprint(n), err
	})
}

func (tw *twins) read(t *rapid.T) {
	f, size := tw.some(t), rapid.IntRange(0, 12000).Draw(t, "size")
	tw.both(t, "read", func(side int) (string, error) {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Read(int(f[side].Fd()), buf) })
		return string(buf[:max(n, 0)]), err
	})
}

func (tw *twins) pread(t *rapid.T) {
	f, size, off := tw.some(t), rapid.IntRange(0, 12000).Draw(t, "size"), someOffset.Draw(t, "offset")
	tw.both(t, "pread", func(side int) (string, error) {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Pread(int(f[side].Fd()), buf, off) })
		return string(buf[:max(n, 0)]), err
	})
}

func (tw *twins) seek(t *rapid.T) {
	f, whence := tw.some(t), rapid.SampledFrom([]int{io.SeekStart, io.SeekCurrent, io.SeekEnd}).Draw(t, "whence")
	off := rapid.Int64Range(-5, 5).Draw(t, "offset")
	tw.both(t, "seek", func(side int) (string, error) {
		at, err := f[side].Seek(off, whence)
		return fmt.Sprint(at), err
	})
}

func (tw *twins) ftruncate(t *rapid.T) {
	f, size := tw.some(t), someOffset.Draw(t, "size")
	tw.both(t, "ftruncate", func(side int) (string, error) { return "", f[side].Truncate(size) })
}

func (tw *twins) sync(t *rapid.T) {
	f := tw.some(t)
	tw.both(t, "fsync", func(side int) (string, error) { return "", f[side].Sync() })
}

func (tw *twins) fstat(t *rapid.T) {
	f := tw.some(t)
	tw.both(t, "fstat", func(side int) (string, error) {
		info, err := f[side].Stat()
		if err != nil {
			return "", err
		}
		return describe(info), nil
	})
}

// describe is what is compared of a file's attributes.
func describe(info os.FileInfo) string {
	return fmt.Sprint(info.Mode().Type(), info.Size(), " bytes, links: ", info.Sys().(*syscall.Stat_t).Nlink)
}

func (tw *twins) truncate(t *rapid.T) {
	name, size := someName.Draw(t, "name"), someOffset.Draw(t, "size")
	tw.both(t, "truncate "+name, func(side int) (string, error) { return "", os.Truncate(tw.path(side, name), size) })
}

func (tw *twins) rename(t *rapid.T) {
	from, to := someName.Draw(t, "from"), someName.Draw(t, "to")
	flags := rapid.SampledFrom([]uint{0, 0, unix.RENAME_NOREPLACE}).Draw(t, "flags")
	tw.both(t, "rename "+from+" to "+to, func(side int) (string, error) {
		return "", unix.Renameat2(unix.AT_FDCWD, tw.path(side, from), unix.AT_FDCWD, tw.path(side, to), flags)
	})
}

func (tw *twins) unlink(t *rapid.T) {
	name := someName.Draw(t, "name")
	tw.both(t, "unlink "+name, func(side int) (string, error) { return "", unix.Unlink(tw.path(side, name)) })
}

// compare looks at everything there is, and at which open files are which names.
func (tw *twins) compare(t *rapid.T) {
	tw.both(t, "list", func(side int) (string, error) {
		entries, err := os.ReadDir(tw.dirs[side])
		var all []string
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				continue // a config
			}
			content, err := os.ReadFile(tw.path(side, e.Name()))
			if err != nil {
				return "", err
			}
			info, err := os.Stat(tw.path(side, e.Name()))
			if err != nil {
				return "", err
			}
			all = append(all, e.Name(), e.Type().String(), string(content), describe(info))
			for i, f := range tw.files {
				if open, err := f[side].Stat(); err != nil || os.SameFile(info, open) {
					all = append(all, fmt.Sprint("open as ", i, err))
				}
			}
		}
		return strings.Join(all, "\n"), err
	})
}

// TestScratchAgainstAPlainDirectory does what comes to mind with scratch files, and the same in a plain directory. What differs on
// purpose is not compared: a scratch file is always 0600, has no hard links and keeps no extended attributes.
func TestScratchAgainstAPlainDirectory(t *testing.T) {
	m := start(t)
	check(t, 100, func(rt *rapid.T) {
		tw := &twins{dirs: [2]string{filepath.Dir(m.config()), t.TempDir()}}
		defer func() {
			for _, f := range tw.files {
				f[0].Close()
				f[1].Close()
			}
			for _, name := range []string{".a", ".b", ".c"} {
				os.Remove(tw.path(0, name))
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"open": tw.open, "create": tw.open, "reopen": tw.reopen, "dup": tw.dup, "close": tw.close,
			"write": tw.write, "pwrite": tw.pwrite, "read": tw.read, "pread": tw.pread, "seek": tw.seek,
			"ftruncate": tw.ftruncate, "truncate": tw.truncate, "sync": tw.sync, "fstat": tw.fstat,
			"rename": tw.rename, "unlink": tw.unlink, "": tw.compare,
		})
	})
}
