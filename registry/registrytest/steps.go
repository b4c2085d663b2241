package registrytest

import (
	"context"
	"errors"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

var stepTests = map[string]func(t *testing.T, a, b Registry){
	"a pointer waits for its body":                    testStepsOrder,
	"a body that is refused moves nothing":            testStepsRefused,
	"who stores a body keeps nobody from publishing":  testStepsSlow,
	"who has lost need not go on storing":             testStepsLost,
	"a pointer that is not there gets nothing beside": testStepsMissing,
	"of two who take the same token one has lost":     testStepsTaken,
}

func testStepsOrder(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	create(t, a, b, p)
	var steps []string
	s, err := a.Move(ctx, p, "", v1,
		func(ctx context.Context) error {
			if s, err := b.State(ctx, p); err != nil || s.Version != "" {
				t.Errorf("while the body is stored the pointer is %+v, %v", s, err)
			}
			steps = append(steps, "stored")
			return a.Put(ctx, p.Key(v1), described([]byte("first")))
		},
		func(ctx context.Context, s registry.State) error {
			steps = append(steps, "moved")
			if now, err := a.State(ctx, p); err != nil || s != now || s.Version != v1 {
				t.Errorf("it was said to move to %+v, and is %+v, %v", s, now, err)
			}
			return nil
		})
	if err != nil || s.Version != v1 || len(steps) != 2 || steps[0] != "stored" {
		t.Errorf("%+v, %v after %v", s, err, steps)
	}
}

func testStepsRefused(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	full := errors.New("no space in the bucket")
	_, err := a.Move(t.Context(), p, "", v1,
		func(context.Context) error { return full },
		func(context.Context, registry.State) error {
			t.Error("it moved")
			return nil
		})
	refused(t, err, full, "move")
	if s, err := b.State(t.Context(), p); err != nil || s.Version != "" {
		t.Errorf("the pointer is %+v, %v", s, err)
	}
	advance(t, b, p, "", v2) // and the lock is free
}

func testStepsSlow(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	_, err := a.Move(t.Context(), p, "", v1, func(ctx context.Context) error {
		_, err := b.Advance(ctx, p, "", v2, nil)
		return err
	}, nil)
	refused(t, err, registry.ErrConflict, "move")
	if s, err := b.State(t.Context(), p); err != nil || s.Version != v2 {
		t.Errorf("the pointer is %+v, %v, want the other's %s", s, err, v2)
	}
}

func testStepsLost(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	advance(t, a, p, "", v1)
	entered := false
	_, err := a.Move(t.Context(), p, "", v2, func(ctx context.Context) error {
		entered = true
		return a.Put(ctx, p.Key(v2), described([]byte("second")))
	}, nil)
	refused(t, err, registry.ErrConflict, "move")
	if s, err := b.State(t.Context(), p); err != nil || s.Version != v1 {
		t.Errorf("the pointer is %+v, %v (store called: %v)", s, err, entered)
	}
}

func testStepsMissing(t *testing.T, a, _ Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	_, err := a.Move(ctx, p, "", v1, func(context.Context) error { return nil }, nil)
	refused(t, err, registry.ErrNotExist, "move")
	create(t, a, a, greylist.Pointer()) // now there is something above it
	_, err = a.Move(ctx, p, "", v1, func(context.Context) error { return nil }, nil)
	refused(t, err, registry.ErrNotExist, "move")
	if s, err := a.State(ctx, p+".lock"); err != nil || s.Exists {
		t.Errorf("beside a pointer that is not there is a lock: %+v, %v", s, err)
	}
}

func testStepsTaken(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	body := described([]byte("the same"))
	put := func(r Registry) func(context.Context) error {
		return func(ctx context.Context) error { return r.Put(ctx, p.Key(v1), body) }
	}
	_, err := a.Move(t.Context(), p, "", v1, put(a), nil)
	must(t, err)
	_, err = b.Move(t.Context(), p, "", v1, put(b), func(context.Context, registry.State) error {
		t.Error("it was told that it had moved")
		return nil
	})
	refused(t, err, registry.ErrConflict, "move")
}
