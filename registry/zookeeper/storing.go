package zookeeper

import (
	"context"
	"errors"
	"time"
)

// storing is the store of a Move under way. Its failure ends ctx, and so everything that would be in vain without it.
type storing struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// storeError is the cause of a ctx that a store has ended.
type storeError struct{ error }

func begin(ctx context.Context, store func(context.Context) error) *storing {
	s := &storing{done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	if store == nil {
		close(s.done)
		return s
	}
	go func() {
		defer close(s.done)
		if err := store(s.ctx); err != nil {
			s.cancel(storeError{err})
		}
	}()
	return s
}

// end ends it, whether it is done or not.
func (s *storing) end() {
	s.cancel(nil)
	<-s.done
}

// failure is why everything else is in vain; nil if it is not.
func (s *storing) failure() error {
	if failed, ok := errors.AsType[storeError](context.Cause(s.ctx)); ok {
		return failed.error
	}
	return nil
}

// wait waits for its end, but not longer than limit unless that is 0.
func (s *storing) wait(limit time.Duration) (done bool) {
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-s.done:
		return true
	case <-late:
		return false
	}
}
