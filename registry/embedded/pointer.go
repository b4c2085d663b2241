package embedded

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// maxKey is S3's limit: a registry that starts here can move there.
const maxKey = 1024

// Watch yields the present state of a pointer at once, then whenever it differs from the one yielded last. It may skip
// states but never yields an older Order. A pointer that does not exist is a State that does not Exist, of no Order. An error is a
// passing trouble and the feed goes on; it ends when ctx does.
func (r *Registry) Watch(ctx context.Context, p registry.Pointer) iter.Seq2[registry.State, error] {
	return feed(ctx, r, p, func() (registry.State, error) { return r.state(p) },
		func(a, b registry.State) bool { return a == b })
}

// State is what Watch would yield now.
func (r *Registry) State(ctx context.Context, p registry.Pointer) (registry.State, error) {
	if err := ctx.Err(); err != nil {
		return registry.State{}, err
	}
	return r.state(p)
}

func (r *Registry) state(p registry.Pointer) (s registry.State, err error) {
	err = r.view(func(v *view) error {
		n, ok, err := v.node(p)
		if ok {
			s = n.state()
		}
		return err
	})
	return s, err
}

// Create makes a pointer with an empty version. ErrExist if there is one.
func (r *Registry) Create(ctx context.Context, p registry.Pointer) error {
	if err := checkPointer(p); err != nil {
		return err
	}
	return r.commit(ctx, p, 0, func(u *update) error {
		if _, ok, err := u.node(p); err != nil {
			return err
		} else if ok {
			return fmt.Errorf("create %s: %w", p, registry.ErrExist)
		}
		order := u.take()
		u.put(nodesBucket, []byte(p), node{created: order, order: order}.encode())
		return nil
	})
}

// Delete removes a pointer. ErrNotExist if there is none; ErrNotEmpty if pointers lie below it or members are present.
func (r *Registry) Delete(ctx context.Context, p registry.Pointer) error {
	return r.commit(ctx, p, 0, func(u *update) error {
		if _, ok, err := u.node(p); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("delete %s: %w", p, registry.ErrNotExist)
		}
		for range u.keys(nodesBucket, []byte(p+"/")) {
			return fmt.Errorf("delete %s: there are names below it: %w", p, registry.ErrNotEmpty)
		}
		if n := r.present(p); n > 0 {
			return fmt.Errorf("delete %s: it has %d members: %w", p, n, registry.ErrNotEmpty)
		}
		u.delete(nodesBucket, []byte(p))
		return nil
	})
}

// Advance is Move with nothing but an index, unless nil, to be written when the pointer has moved.
func (r *Registry) Advance(ctx context.Context, p registry.Pointer, base, next registry.Version, index func(context.Context) error) (registry.State, error) {
	return r.Move(ctx, p, base, next, nil, func(ctx context.Context, _ registry.State) error {
		if index == nil {
			return nil
		}
		return index(ctx)
	})
}

// Move moves a pointer from the version base to next and returns the new state. ErrConflict, with the present state, if another
// version is present; ErrNotExist if there is no pointer. store, unless nil, comes first, and with its error nothing moves. moved,
// unless nil, runs after the commit, before any other Move of the same pointer; its error is logged.
func (r *Registry) Move(ctx context.Context, p registry.Pointer, base, next registry.Version, store func(context.Context) error, moved func(context.Context, registry.State) error) (registry.State, error) {
	if v, err := registry.ParseVersion(string(next)); err != nil {
		return registry.State{}, fmt.Errorf("advance %s: %w", p, err)
	} else if v == "" || v == base {
		return registry.State{}, fmt.Errorf("advance %s from %q to %q: %w", p, base, next, registry.ErrInvalid)
	}
	if store != nil {
		if err := store(ctx); err != nil {
			return registry.State{}, err
		}
	}
	done, err := r.turn(ctx, p)
	if err != nil {
		return registry.State{}, err
	}
	defer done()

	state, err := r.move(ctx, p, base, next)
	if err == nil && moved != nil {
		if err := moved(ctx, state); err != nil {
			r.logger.Warn("index not written", "pointer", string(p), "version", string(next), "err", err)
		}
	}
	return state, err
}

func (r *Registry) move(ctx context.Context, p registry.Pointer, base, next registry.Version) (state registry.State, err error) {
	err = r.commit(ctx, p, 0, func(u *update) error {
		n, ok, err := u.node(p)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("advance %s: %w", p, registry.ErrNotExist)
		case n.version != base:
			state = n.state()
			return fmt.Errorf("advance %s from %q: it is at %q: %w", p, base, n.version, registry.ErrConflict)
		}
		n.version, n.order = next, u.take()
		u.put(nodesBucket, []byte(p), n.encode())
		state = n.state()
		return nil
	})
	return state, err
}

// Names are those with a metaconfig pointer, sorted.
func (r *Registry) Names(ctx context.Context) ([]registry.Name, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var names []registry.Name
	err := r.view(func(v *view) error {
		for key := range v.keys(nodesBucket, []byte(registry.Name("").Metaconfig())) {
			if name, err := registry.ParseName(key); err == nil {
				names = append(names, name)
			}
		}
		return nil
	})
	return names, err
}

// checkPointer refuses what ZooKeeper would, and what no name leads to.
func checkPointer(p registry.Pointer) error {
	path, ok := strings.CutPrefix(string(p), "/")
	if !ok || len(p) > maxKey {
		return fmt.Errorf("pointer %.80q: %w", p, registry.ErrInvalid)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(c rune) bool {
			return c <= ' ' || c > '~'
		}) {
			return fmt.Errorf("pointer %.80q: part %.80q: %w", p, part, registry.ErrInvalid)
		}
	}
	return nil
}

// turn is the lock of one pointer's writers.
type turn struct {
	token chan struct{}
	users int
}

// turn waits until nobody else advances p. The caller calls done.
func (r *Registry) turn(ctx context.Context, p registry.Pointer) (done func(), err error) {
	r.mu.Lock()
	t := r.turns[p]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		r.turns[p] = t
	}
	t.users++
	r.mu.Unlock()

	forget := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(r.turns, p)
		}
	}
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
