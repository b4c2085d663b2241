package manageddata_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/registry/manageddata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s until %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// tree is a directory as an application's test has it.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree { t.Helper(); return tree{t, t.TempDir()} }

func (x tree) path(name string) string { return filepath.Join(x.dir, "config.manageddata."+name) }

func (x tree) write(name, content string) {
	x.t.Helper()
	if err := os.WriteFile(x.path(name)+".new", []byte(content), 0o644); err != nil {
		x.t.Fatal(err)
	}
	if err := os.Rename(x.path(name)+".new", x.path(name)); err != nil {
		x.t.Fatal(err)
	}
}

func (x tree) holds(name, content string) {
	x.t.Helper()
	got, err := os.ReadFile(x.path(name))
	if err != nil || string(got) != content {
		x.t.Errorf("%s holds %q and not %q: %v", name, got, content, err)
	}
}

// options hear of changes by events only.
func (x tree) options() manageddata.Options {
	return manageddata.Options{Dir: x.dir, Poll: time.Hour}
}

type closer interface{ Close() error }

// attempted is what an Open returned: opened(OpenX(...)).in(t) ends it with the test.
type attempted[T closer] struct {
	value T
	err   error
}

func opened[T closer](value T, err error) attempted[T] { return attempted[T]{value, err} }

func (a attempted[T]) in(t *testing.T) T {
	t.Helper()
	check(t, a.err)
	t.Cleanup(func() {
		if err := a.value.Close(); err != nil {
			t.Error(err)
		}
	})
	return a.value
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
