package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// A publication may be cut off, by its deadline or by its caller, after it has reached the registry. So much of its time is kept to
// find out what became of it.
const (
	inquiry      = 2 * time.Second
	inquiryPause = 100 * time.Millisecond
)

// task is the time that a publication has.
type task struct {
	ctx    context.Context         // for the work: ends with the caller, and a little before the deadline
	check  func(body []byte) error // what the schema of the name says of the body
	settle context.Context         // for finding out what came of it: ends at the deadline, whatever the caller does
}

func (m *Mirror) newTask(ctx context.Context) (t task, cancel func()) {
	deadline := time.Now().Add(m.o.PublishTimeout)
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(deadline) {
		deadline = sooner
	}
	kept := min(inquiry, time.Until(deadline)/5)
	work, cancelWork := context.WithDeadline(ctx, deadline.Add(-kept))
	settle, cancelSettle := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	return task{ctx: work, settle: settle}, func() { cancelWork(); cancelSettle() }
}

// besideLimit is the largest body that is stored while the pointer's lock is being taken, in bytes: nobody is to wait for a lock
// while somebody else's megabytes are on their way.
const besideLimit = 256 << 10

// scatter is how far apart tokens are that cannot be told apart by the clock: of publishers who all find a version that lies in the
// future each is to have one of his own.
const scatter = time.Millisecond

// put stores a body under a fresh version and moves the pointer to it: never the pointer before the body, so that a crash between
// them leaves a body that nobody names. arrive, unless nil, runs once when the pointer has moved, beside the index; put waits for it.
func (m *Mirror) put(t task, pointer registry.Pointer, base registry.Version, body registry.Body, arrive func(registry.State)) (registry.State, error) {
	body.Meta.Replaces = base
	next := base
	for { // another publisher may have taken this very nanosecond
		next = freshVersion(next)
		v := &move{m: m, pointer: pointer, base: base, next: next, body: body, arrive: arrive}
		state, err := v.run(t)
		v.home.Wait()
		if err == nil || !errors.Is(v.refused, registry.ErrExist) {
			return state, err
		}
	}
}

// freshVersion is later than a version, and nobody else's.
func freshVersion(last registry.Version) registry.Version {
	now := time.Now()
	next := registry.NextVersion(now, last)
	if at, ok := next.Time(); ok && at.After(now) {
		next = registry.NextVersion(at.Add(rand.N(scatter)), last)
	}
	return next
}

// move is one publication under one token, however often it takes to ask for it.
type move struct {
	m          *Mirror
	pointer    registry.Pointer
	base, next registry.Version
	body       registry.Body
	arrive     func(registry.State)

	stored  bool
	refused error // why it is not stored
	told    bool  // arrive was called
	home    sync.WaitGroup
	indexed bool
}

// run stores the body and moves the pointer.
func (v *move) run(t task) (registry.State, error) {
	if len(v.body.Data) > besideLimit {
		if err := v.store(t.ctx); err != nil {
			return registry.State{}, v.notStored(err)
		}
	}
	state, err := v.advance(t)
	if !v.refusedByStore() {
		v.m.answered(registrySide, err)
	}
	if err != nil {
		return state, err
	}
	v.landed(state)
	if !v.indexed {
		v.m.owe(v.pointer)
	}
	return state, nil
}

func (v *move) store(ctx context.Context) error {
	err := v.m.bodies.Put(ctx, v.pointer.Key(v.next), v.body)
	v.m.answered(bodiesSide, err)
	v.stored, v.refused = err == nil, err
	return err
}

// refusedByStore says that the body could not be stored; that nobody waited for it any more is no refusal.
func (v *move) refusedByStore() bool {
	return v.refused != nil && !errors.Is(v.refused, context.Canceled)
}

func (v *move) notStored(err error) error {
	return fmt.Errorf("not published: store the body: %w", inTime(err))
}

// moved is called where no other writer comes between.
func (v *move) moved(ctx context.Context, s registry.State) error {
	v.landed(s)
	err := v.m.bodies.PutIndex(ctx, v.pointer.IndexKey(), v.next)
	v.indexed = err == nil
	return err
}

// landed has the version brought home, once.
func (v *move) landed(s registry.State) {
	if !v.told && v.arrive != nil {
		v.home.Go(func() { v.arrive(s) })
	}
	v.told = true
}

// definite are the errors of Move that say that nothing moved, unless they say ErrUnknown too.
var definite = []error{
	registry.ErrConflict, registry.ErrNotExist, registry.ErrInvalid, registry.ErrPermission, registry.ErrReadOnly,
	registry.ErrTooLarge, registry.ErrUnreachable, registry.ErrTimeout,
}

// advance moves a pointer. If the answer is lost it finds out whether the pointer moved, since no other publication has the version
// next, and moves it again if it has not.
func (v *move) advance(t task) (registry.State, error) {
	doubted := false
	for {
		store := v.store
		if v.stored {
			store = nil
		}
		state, err := v.m.registry.Move(t.ctx, v.pointer, v.base, v.next, store, v.moved)
		switch {
		case err == nil:
			return state, nil
		case v.refusedByStore():
			return registry.State{}, v.notStored(v.refused)
		case isDefinite(err) && !(doubted && errors.Is(err, registry.ErrConflict)):
			return state, err
		case !v.stored:
			return registry.State{}, fmt.Errorf("not published: %w", inTime(err))
		}
		doubted = true // from now on a conflict may be with ourselves: the first one has arrived late
		state, moved, err := v.m.inquire(t, v.pointer, v.base, v.next, err)
		if moved || err != nil {
			return state, err
		}
	}
}

// isDefinite says whether nothing moved. What makes an outcome unknown is in its error too: that nobody was reached, most often.
func isDefinite(err error) bool {
	return !errors.Is(err, registry.ErrUnknown) && slices.ContainsFunc(definite, func(sure error) bool { return errors.Is(err, sure) })
}

// inquire reads what became of an Advance that ended in lost. Without an error and without having moved it is to be done again.
func (m *Mirror) inquire(t task, pointer registry.Pointer, base, next registry.Version, lost error) (s registry.State, moved bool, err error) {
	for {
		s, err = m.registry.State(t.settle, pointer)
		if err == nil || !pause(t.settle, inquiryPause) {
			break
		}
	}
	switch {
	case err != nil:
		return s, false, fmt.Errorf("it may have been published as %s: the answer was lost (%w) and the registry cannot be asked (%w): %w",
			next, lost, err, registry.ErrUnknown)
	case s.Version == next:
		return s, true, nil
	case errors.Is(lost, registry.ErrConflict):
		return s, false, lost
	case s.Exists && s.Version == base && t.ctx.Err() == nil:
		return s, false, nil
	case s.Exists && s.Version == base:
		return s, false, fmt.Errorf("not published: %w", inTime(lost))
	}
	return s, false, fmt.Errorf("it may have been published as %s: the answer was lost (%w), and by now %s is current: %w",
		next, lost, s.Version, registry.ErrUnknown)
}

// owe remembers that the index of a pointer is behind, for the audit.
func (m *Mirror) owe(pointer registry.Pointer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unindexed[pointer] = struct{}{}
}
