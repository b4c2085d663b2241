package registrytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	blacklist registry.Name = "config.manageddata.spam.blacklist"
	greylist  registry.Name = "config.manageddata.spam.greylist"
	users     registry.Name = "discovery.user.prod"

	v1 registry.Version = "1795296152.000000001"
	v2 registry.Version = "1795296152.000000002"
	v3 registry.Version = "1795296152.52" // as Python writes them
)

var pointerTests = map[string]func(t *testing.T, a, b Registry){
	"a pointer is made, moved and removed":         testPointerLife,
	"a pointer that was never made":                testPointerMissing,
	"a pointer that was removed is made anew":      testPointerAgain,
	"a name may be the beginning of another":       testPointerBelow,
	"a malformed pointer":                          testPointerMalformed,
	"a version that is none":                       testVersionInvalid,
	"an empty version is one that can be advanced": testVersionEmpty,
	"the names are those with a metaconfig":        testNames,
	"the index is written after the commit":        testIndex,
	"an index that fails is not the writer's loss": testIndexFails,
	"no index for a lost race":                     testIndexConflict,
	"nobody advances while the index is written":   testIndexTurn,
}

func testPointerLife(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	create(t, a, b, p)
	created, err := a.State(ctx, p)
	must(t, err)
	if !created.Exists || created.Version != "" {
		t.Errorf("a new pointer is %+v, want an empty version", created)
	}
	refused(t, a.Create(ctx, p), registry.ErrExist, "create again")
	refused(t, b.Create(ctx, p), registry.ErrExist, "create again from elsewhere")

	first := advance(t, a, p, "", v1)
	if first.Order <= created.Order {
		t.Errorf("order %d after %d", first.Order, created.Order)
	}
	second := advance(t, b, p, v1, v2)
	if second.Order <= first.Order {
		t.Errorf("order %d after %d", second.Order, first.Order)
	}
	if s, err := b.State(ctx, p); err != nil || s != second {
		t.Errorf("the writer reads %+v, %v, and it wrote %+v", s, err, second)
	}
	eventually(t, func() error {
		if s, err := a.State(ctx, p); err != nil || s != second {
			return fmt.Errorf("the other client reads %+v, %v, want %+v", s, err, second)
		}
		return nil
	})

	must(t, a.Delete(ctx, p))
	if s, err := a.State(ctx, p); err != nil || s.Exists {
		t.Errorf("after it was removed: %+v, %v", s, err)
	}
	refused(t, a.Delete(ctx, p), registry.ErrNotExist, "remove again")
	refused(t, b.Delete(ctx, p), registry.ErrNotExist, "remove again from elsewhere")
}

func testPointerMissing(t *testing.T, a, _ Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	if s, err := a.State(ctx, p); err != nil || s.Exists || s.Version != "" {
		t.Errorf("state: %+v, %v", s, err)
	}
	refused(t, a.Delete(ctx, p), registry.ErrNotExist, "remove")
	_, err := a.Advance(ctx, p, "", v1, nil)
	refused(t, err, registry.ErrNotExist, "advance")
	if s, err := a.State(ctx, p); err != nil || s.Exists {
		t.Errorf("an advance made the pointer: %+v, %v", s, err)
	}
}

func testPointerAgain(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	create(t, a, b, p)
	before := advance(t, a, p, "", v1)
	must(t, a.Delete(ctx, p))
	must(t, a.Create(ctx, p))
	after, err := a.State(ctx, p)
	must(t, err)
	if !after.Exists || after.Version != "" || after.Order <= before.Order {
		t.Errorf("made anew it is %+v, before it was %+v: want an empty version of a later order", after, before)
	}
	_, err = a.Advance(ctx, p, v1, v2, nil)
	refused(t, err, registry.ErrConflict, "advance from the version of its first life")
}

func testPointerBelow(t *testing.T, a, b Registry) {
	ctx := t.Context()
	above, below := blacklist.Pointer(), blacklist.Pointer()+"/europe"
	create(t, a, b, above)
	create(t, a, b, below)
	advance(t, a, above, "", v1)
	advance(t, a, below, "", v2)
	refused(t, a.Delete(ctx, above), registry.ErrNotEmpty, "remove the one above")
	for p, want := range map[registry.Pointer]registry.Version{above: v1, below: v2} {
		if s, err := a.State(ctx, p); err != nil || s.Version != want {
			t.Errorf("%s is %+v, %v, want version %s", p, s, err, want)
		}
	}
	must(t, a.Delete(ctx, below))
	must(t, a.Delete(ctx, above))
}

func testPointerMalformed(t *testing.T, a, _ Registry) {
	for _, p := range []registry.Pointer{
		"", "/", "config", "config/a", "//config", "/config//a", "/config/a/", "/config/../a", "/config/./a", "/config/a\x00b",
		"/config/a\nb", registry.Pointer("/config/" + strings.Repeat("a", 5000)),
	} {
		refused(t, a.Create(t.Context(), p), registry.ErrInvalid, fmt.Sprintf("create %.40q", p))
	}
}

func testVersionInvalid(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	create(t, a, b, p)
	want := advance(t, a, p, "", v1)
	for _, next := range []registry.Version{"", v1, "-rf", "../x", "1 2", "1/2", "1\n", "\x00", registry.Version(strings.Repeat("1", 500))} {
		_, err := a.Advance(ctx, p, v1, next, nil)
		refused(t, err, registry.ErrInvalid, fmt.Sprintf("advance from %q to %.40q", v1, next))
	}
	if s, err := a.State(ctx, p); err != nil || s != want {
		t.Errorf("what was refused left %+v, %v, want %+v", s, err, want)
	}
}

func testVersionEmpty(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Metaconfig()
	create(t, a, b, p)
	_, err := b.Advance(ctx, p, v1, v2, nil)
	refused(t, err, registry.ErrConflict, "advance a new pointer from a version it never had")
	advance(t, b, p, "", v3)
	s, err := b.Advance(ctx, p, "", v2, nil)
	refused(t, err, registry.ErrConflict, "advance from empty what is not empty")
	if s.Exists && s.Version != v3 {
		t.Errorf("with the conflict came %+v, and present is %s", s, v3)
	}
}

func testNames(t *testing.T, a, b Registry) {
	ctx := t.Context()
	if names, err := a.Names(ctx); err != nil || len(names) != 0 {
		t.Errorf("the names of an empty registry: %q, %v", names, err)
	}
	for _, n := range []registry.Name{users, greylist, blacklist} {
		create(t, a, b, n.Pointer())
		create(t, a, b, n.Metaconfig())
	}
	create(t, a, b, registry.Name("config.manageddata.spam.bare").Pointer()) // no metaconfig: not a name yet
	create(t, a, b, greylist.Metaconfig()+".lock")                           // as Python makes them
	must(t, a.Delete(ctx, greylist.Metaconfig()))
	want := []registry.Name{blacklist, users}
	for _, r := range []Registry{a, b} {
		eventually(t, func() error {
			if names, err := r.Names(ctx); err != nil || !slices.Equal(names, want) {
				return fmt.Errorf("names: %q, %v, want %q", names, err, want)
			}
			return nil
		})
	}
}

func testIndex(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	create(t, a, b, p)
	calls := 0
	want, err := a.Advance(ctx, p, "", v1, func(ctx context.Context) error {
		calls++
		if s, err := a.State(ctx, p); err != nil || s.Version != v1 {
			t.Errorf("when the index is written the pointer is %+v, %v", s, err)
		}
		return a.PutIndex(ctx, p.IndexKey(), v1)
	})
	must(t, err)
	if calls != 1 || want.Version != v1 {
		t.Errorf("the index was written %d times for %+v", calls, want)
	}
	must(t, b.PutIndex(ctx, p.IndexKey(), v1)) // an audit repeats it
	must(t, b.PutIndex(ctx, p.IndexKey(), v3))
}

func testIndexFails(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	s, err := a.Advance(t.Context(), p, "", v1, func(context.Context) error { return errors.New("no space in the bucket") })
	if err != nil || s.Version != v1 {
		t.Errorf("advance: %+v, %v", s, err)
	}
	advance(t, b, p, v1, v2) // and the lock is free
}

func testIndexConflict(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	advance(t, a, p, "", v1)
	_, err := a.Advance(t.Context(), p, "", v2, func(context.Context) error {
		t.Error("an index was written for a version that never was")
		return nil
	})
	refused(t, err, registry.ErrConflict, "advance")
}

func testIndexTurn(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	second := make(chan error)
	_, err := a.Advance(t.Context(), p, "", v1, func(ctx context.Context) error {
		go func() {
			_, err := b.Advance(t.Context(), p, v1, v2, nil)
			second <- err
		}()
		for n := range 20 { // time enough for the second, if nothing held it back
			if err := a.Create(ctx, registry.Name(fmt.Sprintf("config.manageddata.other.key%d", n)).Pointer()); err != nil {
				t.Error(err)
			}
			if s, err := a.State(ctx, p); err != nil || s.Version != v1 {
				t.Errorf("while the index of %s is written the pointer is %+v, %v", v1, s, err)
				return nil
			}
		}
		return nil
	})
	must(t, err)
	must(t, <-second)
}
