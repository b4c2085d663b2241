package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// holdLimit is how long the lock is held for a body that is still being stored. Somebody whose store is slow must not keep others
// from publishing, least of all Python, which tries once and does not wait: he gives his place up, and comes back when he is ready. A
// body of usual size is stored in less.
const holdLimit = 100 * time.Millisecond

// Advance is Move with nothing but an index, unless nil, to be written when the pointer has moved.
func (c *Client) Advance(ctx context.Context, p registry.Pointer, base, next registry.Version, index func(context.Context) error) (registry.State, error) {
	if index == nil {
		return c.Move(ctx, p, base, next, nil, nil)
	}
	return c.Move(ctx, p, base, next, nil, func(ctx context.Context, _ registry.State) error { return index(ctx) })
}

// Move moves a pointer from the version base to next and returns the new state. ErrConflict if another version is present;
// ErrNotExist if there is no pointer; ErrTimeout if somebody else held the lock for too long; ErrUnknown if the connection was lost
// and nobody can say by the end of ctx whether the pointer was moved: whoever tries that again with the same next, which is his
// alone, and without a store, since that was done, succeeds even if it was.
//
// store, unless nil, runs once, beside the wait for the lock. The pointer does not move before it has succeeded, and its error is
// Move's as it is: then nothing has moved. Its ctx ends when Move has failed otherwise. moved, unless nil, runs after the commit,
// while the lock is held; its error is logged.
//
// The lock is that of Python publishers, who set without looking. What keeps ours from being done twice or too late is not
// the lock: it is one transaction that demands the version that was read and our place in the queue. So after a lost connection
// the same can be tried again, with the same token, until the answer is known: giving up the place first makes what is still
// on its way worthless.
func (c *Client) Move(ctx context.Context, p registry.Pointer, base, next registry.Version, store func(context.Context) error, moved func(context.Context, registry.State) error) (registry.State, error) {
	if v, err := registry.ParseVersion(string(next)); err != nil {
		return registry.State{}, fmt.Errorf("advance %s: %w", p, err)
	} else if v == "" || v == base {
		return registry.State{}, fmt.Errorf("advance %s from %q to %q: %w", p, base, next, registry.ErrInvalid)
	}
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return registry.State{}, fmt.Errorf("advance: %w", err)
	}
	s := begin(ctx, store)
	defer s.end()
	done, err := c.turn(s.ctx, p)
	if err != nil {
		return registry.State{}, cmp.Or(s.failure(), fmt.Errorf("advance %s: %w", p, err))
	}
	defer done()

	a := advance{c: c, path: c.path(p), base: base, next: next, store: s, moved: moved, fresh: store != nil}
	state, err := a.run(s.ctx)
	if err != nil {
		return state, cmp.Or(s.failure(), fmt.Errorf("advance %s from %q to %q: %w", p, base, next, err))
	}
	return state, nil
}

// advance is one compare-and-set, however many connections it takes.
type advance struct {
	c          *Client
	path       string
	base, next registry.Version
	store      *storing
	moved      func(context.Context, registry.State) error

	fresh   bool  // nobody has tried this before: who finds the pointer at next has met another's
	late    bool  // what is to be stored has taken so long that it is waited for without the lock
	unknown bool  // a connection was lost after the transaction was sent
	version int32 // of the data that it demanded
}

func (a *advance) run(ctx context.Context) (registry.State, error) {
	for {
		if a.late {
			a.store.wait(0)
		}
		l, err := a.c.usable(ctx)
		if err != nil {
			return registry.State{}, a.outcome(err)
		}
		state, again, err := a.attempt(ctx, l)
		if !again {
			return state, err
		}
	}
}

// outcome is an error that leaves open what has happened, if that is so.
func (a *advance) outcome(err error) error {
	if a.unknown {
		return fmt.Errorf("%w: %w", registry.ErrUnknown, err)
	}
	return err
}

// attempt tries on one connection. It asks for another one after a loss, and after anything else that calls for a new look.
func (a *advance) attempt(ctx context.Context, l *link) (state registry.State, again bool, err error) {
	var held *place
	if !a.c.options.NoPythonLock {
		// A name that is not there must not get a lock.
		exists := func() error {
			_, stat, err := a.c.state(ctx, l, a.path)
			if stat != nil {
				return nil
			}
			return err
		}
		if held, err = a.c.lock(ctx, l, a.path, exists); err != nil {
			return registry.State{}, errors.Is(err, errLost), a.outcome(err)
		}
		defer a.c.unlock(ctx, l, held)
	}
	state, present, err := a.look(ctx, l)
	if err != nil {
		return state, errors.Is(err, errLost), a.outcome(err)
	}
	if !a.store.wait(holdLimit) {
		a.late = true
		return registry.State{}, true, nil
	}
	if ctx.Err() != nil {
		return registry.State{}, false, a.outcome(expired(ctx))
	}
	if state.Version != a.next {
		if state, again, err = a.commit(ctx, l, held, present.Version); again || err != nil {
			return state, again, err
		}
	}
	if a.moved != nil {
		if err := a.moved(ctx, state); err != nil {
			a.c.options.Logger.Warn("index not written", "path", a.path, "version", string(a.next), "err", err)
		}
	}
	return state, false, nil
}

// look reads the pointer: it is at base, or an earlier try has brought it to next. Otherwise it is too late.
func (a *advance) look(ctx context.Context, l *link) (registry.State, *zk.Stat, error) {
	state, stat, err := a.c.state(ctx, l, a.path)
	if stat == nil {
		return registry.State{}, nil, err
	}
	switch {
	case err == nil && state.Version == a.base, err == nil && state.Version == a.next && (a.unknown || !a.fresh):
		return state, stat, nil
	case a.unknown && stat.Version != a.version+1:
		// Not one change since but more, or the node is another: the first of them may have been ours.
		return registry.State{}, nil, fmt.Errorf("it has moved on to %q: %w", state.Version, registry.ErrUnknown)
	case err != nil:
		return registry.State{}, nil, fmt.Errorf("%w: %w", registry.ErrConflict, err)
	}
	a.unknown = false
	return state, nil, fmt.Errorf("it is at %q: %w", state.Version, registry.ErrConflict)
}

// commit is the transaction. It fails without effect if the data is not of that version any more, or the place in the queue is
// lost; both call for a new look.
func (a *advance) commit(ctx context.Context, l *link, held *place, version int32) (state registry.State, again bool, err error) {
	var ops []any
	if held != nil {
		ops = append(ops, &zk.CheckVersionRequest{Path: held.path(), Version: -1})
	}
	ops = append(ops, &zk.SetDataRequest{Path: a.path, Data: []byte(a.next), Version: version})
	if held != nil && a.moved == nil {
		ops = append(ops, &zk.DeleteRequest{Path: held.path(), Version: -1})
	}
	results, err := multi(ctx, l, ops...)
	var refused *failedOp
	switch {
	case err == nil:
		held.left(a.moved == nil)
	case errors.Is(err, errLost):
		a.unknown, a.version = true, version
		return registry.State{}, true, nil
	case errors.Is(err, errAbandoned):
		a.unknown = true
		return registry.State{}, false, a.outcome(err)
	case errors.As(err, &refused) && (errors.Is(err, registry.ErrConflict) || errors.Is(err, registry.ErrNotExist)):
		return registry.State{}, true, nil
	default:
		return registry.State{}, false, a.outcome(err)
	}
	for _, r := range results {
		if r.Stat != nil {
			state = registry.State{Exists: true, Version: a.next, Order: registry.Order(l.order(r.Stat.Mzxid))}
		}
	}
	return state, false, nil
}
