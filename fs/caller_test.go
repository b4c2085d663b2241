package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A process is asked about as long as it has a file open to write, and only then.
func TestWritableSeesTheDescriptorsThatWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	reading, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(reading.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	self := uint32(os.Getpid())
	if n, _ := writable(self, 0, stat.Ino); n != 0 {
		t.Errorf("%d descriptors write to a file that is only read", n)
	}
	for n := 1; n <= 2; n++ {
		writing, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer writing.Close()
		if found, alive := writable(self, 0, stat.Ino); found != n || !alive {
			t.Errorf("%d descriptors write to it, %d were found", n, found)
		}
	}
	if n, alive := writable(1<<31-1, 0, stat.Ino); n != 0 || alive {
		t.Errorf("a process that does not exist has %d descriptors", n)
	}
}

// BenchmarkCaller is what is read of a writer when it opens a file, and when it closes it.
func BenchmarkCaller(b *testing.B) {
	f := New(nil, Options{})
	h := &fuse.InHeader{Caller: fuse.Caller{Pid: uint32(os.Getpid())}}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			f.caller(h)
		}
	})
	b.Run("close", func(b *testing.B) {
		for b.Loop() {
			writable(h.Pid, 0, 1)
		}
	})
}
