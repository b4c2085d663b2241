package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	ctx    context.Context // for the work: ends with the caller, and a little before the deadline
	settle context.Context // for finding out what came of it: ends at the deadline, whatever the caller does
}

func (m *Mirror) newTask(ctx context.Context) (t task, cancel func()) {
	deadline := time.Now().Add(m.o.PublishTimeout)
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(deadline) {
		deadline = sooner
	}
	kept := min(inquiry, time.Until(deadline)/5)
	work, cancelWork := context.WithDeadline(ctx, deadline.Add(-kept))
	settle, cancelSettle := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	return task{work, settle}, func() { cancelWork(); cancelSettle() }
}

// put stores a body under a fresh version and moves the pointer to it: the body first, then the pointer, so that a crash between
// them leaves a body that nobody names.
func (m *Mirror) put(t task, pointer registry.Pointer, base registry.Version, body registry.Body) (registry.State, error) {
	body.Meta.Replaces = base
	next := base
	for { // another publisher may have taken this very nanosecond
		next = registry.NextVersion(time.Now(), next)
		err := m.bodies.Put(t.ctx, pointer.Key(next), body)
		m.answered(bodiesSide, err)
		if err == nil {
			break
		}
		if !errors.Is(err, registry.ErrExist) {
			return registry.State{}, fmt.Errorf("not published: store the body: %w", inTime(err))
		}
	}
	index := func(ctx context.Context) error {
		return m.bodies.PutIndex(ctx, pointer.IndexKey(), next)
	}
	state, err := m.advance(t, pointer, base, next, index)
	m.answered(registrySide, err)
	return state, err
}

// definite are the errors of Advance that say that nothing moved, unless they say ErrUnknown too.
var definite = []error{
	registry.ErrConflict, registry.ErrNotExist, registry.ErrInvalid, registry.ErrPermission, registry.ErrReadOnly,
	registry.ErrTooLarge, registry.ErrUnreachable,
}

// advance moves a pointer. If the answer is lost it finds out whether the pointer moved, since no other publication has the version
// next, and moves it again if it has not.
func (m *Mirror) advance(t task, pointer registry.Pointer, base, next registry.Version, index func(context.Context) error) (registry.State, error) {
	indexed, doubted := false, false
	note := func(ctx context.Context) error {
		err := index(ctx)
		indexed = err == nil
		return err
	}
	for {
		state, err := m.registry.Advance(t.ctx, pointer, base, next, note)
		sure := err == nil || isDefinite(err)
		if sure && !(doubted && errors.Is(err, registry.ErrConflict)) {
			if err == nil && !indexed {
				m.owe(pointer)
			}
			return state, err
		}
		doubted = true // from now on a conflict may be with ourselves: the first one has arrived late
		state, moved, err := m.inquire(t, pointer, base, next, err)
		if moved {
			if !indexed {
				m.owe(pointer)
			}
			return state, nil
		}
		if err != nil {
			return registry.State{}, err
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
