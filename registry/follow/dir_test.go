package follow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/registry/follow"
)

func TestOneDirServesManyFiles(t *testing.T) {
	root := t.TempDir()
	dir, err := follow.OpenDir(follow.DirOptions{Poll: slow}, root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var files []*follow.File[string]
	for i := range 150 {
		write(t, filepath.Join(root, fmt.Sprint(i)), fmt.Sprintf("v%d", i))
		f, err := follow.In(dir, fmt.Sprint(i), word, follow.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for i, f := range files {
		if !holds(f, fmt.Sprintf("v%d", i))() {
			t.Fatalf("file %d: %v", i, f.Err())
		}
		replace(t, filepath.Join(root, fmt.Sprint(i)), fmt.Sprintf("w%d", i))
	}
	for i, f := range files {
		eventually(t, "it changed", holds(f, fmt.Sprintf("w%d", i)))
	}
	if err := files[0].Close(); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(root, "0"), "x")
	replace(t, filepath.Join(root, "1"), "y")
	eventually(t, "the others go on", holds(files[1], "y"))
	if !holds(files[0], "w0")() {
		t.Error("a closed file changed")
	}
	if _, err := follow.In(dir, "../x", word, follow.Options{}); err == nil {
		t.Error("a path was taken for a name")
	}
}

// TestStandInWhileTheDirectoryIsAway: the plain files of the state directory while there is no mount, and back.
func TestStandInWhileTheDirectoryIsAway(t *testing.T) {
	root := t.TempDir()
	first, second := filepath.Join(root, "mount"), filepath.Join(root, "files")
	if err := os.Mkdir(second, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(second, "f"), "plain")
	dir, err := follow.OpenDir(follow.DirOptions{}, first, second)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	changed := make(chan struct{}, 100)
	f, err := follow.In(dir, "f", word, follow.Options{Changed: func() { changed <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	if !holds(f, "plain")() || f.Snapshot().Path != filepath.Join(second, "f") {
		t.Fatalf("%+v %v", f.Snapshot(), f.Err())
	}
	replace(t, filepath.Join(second, "f"), "changed")
	eventually(t, "the stand-in is followed", holds(f, "changed"))
	if err := os.Mkdir(first, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(first, "f"), "mounted")
	eventually(t, "the first directory counts again", holds(f, "mounted"))
	replace(t, filepath.Join(second, "f"), "ignored")
	if err := os.RemoveAll(first); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stand-in is read again", holds(f, "ignored"))
	eventually(t, "Changed was called for each value", func() bool { return len(changed) >= 4 })
}

func TestManyOpenAndCloseWhileTheFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "v")
	dir, err := follow.OpenDir(follow.DirOptions{}, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer, openers sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				replace(t, path, fmt.Sprintf("v%d", i))
			}
		}
	})
	for range 8 {
		openers.Go(func() {
			for range 50 {
				f, err := follow.In(dir, "f", word, follow.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, ok := f.Load(); !ok && f.Err() == nil {
					t.Error("neither value nor error")
				}
				f.Close()
			}
		})
	}
	openers.Wait()
	close(stop)
	writer.Wait()
	if err := dir.Close(); err != nil {
		t.Error(err)
	}
}
