package embedded

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/kingpinfs/kingpin/registry"
)

func TestChangesTellsWhichNodesToReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Open(filepath.Join(t.TempDir(), "registry.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan []registry.Pointer)
		ended := make(chan error, 1)
		go func() {
			defer close(ended)
			for nodes, err := range r.Changes(ctx) {
				if err != nil {
					ended <- err
					continue
				}
				heard <- nodes
			}
		}()
		if first := <-heard; first != nil {
			t.Errorf("first %v, want nil: anything may have changed", first)
		}

		name := registry.Name("discovery.user.prod")
		for _, err := range []error{
			r.Create(ctx, "/config/b"), r.Create(ctx, "/config/a"), r.Create(ctx, name.Pointer()),
			r.CreateDependency(ctx, "web.dep"), r.Put(ctx, "data/config/a_1/5", registry.Body{}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		joined, leave := context.WithCancel(ctx)
		go r.Join(joined, name, registry.Member{Endpoint: "10.0.0.1:80"})
		synctest.Wait()
		all := map[registry.Pointer]int{}
		for _, p := range slices.Concat(<-heard, <-heard) { // the first change, then all that came while nobody listened
			all[p]++
		}
		for _, want := range []registry.Pointer{"/config/a", "/config/b", name.Pointer(), registry.Dependency("web.dep").Pointer()} {
			if all[want] != 1 {
				t.Errorf("told %d times of %s, want once", all[want], want)
			}
		}
		if len(all) != 4 {
			t.Errorf("told of %v, want the four nodes only", all)
		}
		leave()
		if got := <-heard; !slices.Equal(got, []registry.Pointer{name.Pointer()}) {
			t.Errorf("told of %v, want of the member that left", got)
		}
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v, want %v", err, ErrClosed)
		}
		cancel()
		<-ended
		if len(r.watchers) != 0 {
			t.Errorf("%d watchers are left", len(r.watchers))
		}
	})
}
