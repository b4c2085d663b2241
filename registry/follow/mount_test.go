package follow_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// sluggish is a file of a file system that may stop answering.
type sluggish struct {
	fusefs.Inode
	hangs   chan struct{} // while it is open, nobody is answered
	waiting atomic.Int32
}

func (s *sluggish) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	s.waiting.Add(1)
	<-s.hangs
	out.Mode, out.Size, out.Nlink = 0o644|syscall.S_IFREG, uint64(len("mounted")), 1
	return 0
}

func (s *sluggish) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (s *sluggish) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	const body = "mounted"
	off = min(off, int64(len(body)))
	return fuse.ReadResultData([]byte(body)[off:min(off+int64(len(dest)), int64(len(body)))]), 0
}

// TestHangingMountIsDoneWithout: a read of a mount whose server hangs does not come back; the file is read from the plain ones meanwhile.
func TestHangingMountIsDoneWithout(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	root := t.TempDir()
	mount, plain := filepath.Join(root, "mount"), filepath.Join(root, "plain")
	for _, dir := range []string{mount, plain} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(plain, "f"), "plain")
	file := &sluggish{hangs: make(chan struct{})}
	tree := &fusefs.Inode{}
	server, err := fusefs.Mount(mount, tree, &fusefs.Options{OnAdd: func(ctx context.Context) {
		tree.AddChild("f", tree.NewPersistentInode(ctx, file, fusefs.StableAttr{Mode: syscall.S_IFREG}), false)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	dir, err := follow.OpenDir(follow.DirOptions{Patience: time.Second}, mount, plain)
	if err != nil {
		t.Fatal(err)
	}
	f, err := follow.In(dir, "f", word, follow.Options{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the plain file is read while the mount is asked in vain", func() bool { return holds(f, "plain")() && file.waiting.Load() > 0 })
	replace(t, filepath.Join(plain, "f"), "changed")
	eventually(t, "the plain file is followed", holds(f, "changed"))
	close(file.hangs)
	eventually(t, "the mount counts again", holds(f, "mounted"))
	if err := dir.Close(); err != nil {
		t.Error(err)
	}
}
