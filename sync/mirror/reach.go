package mirror

import (
	"context"
	"sync"
	"time"
)

const (
	// reachTimeout is how long Reach waits for an answer.
	reachTimeout = 2 * time.Second

	// reachFresh is how long it relies on what a neighbour said last, or on that it did not.
	reachFresh = time.Second
)

// Reach is Writable for who can wait a moment: whoever of the two neighbours was not heard of in the last second is asked first.
// Without it the first writer after a store of bodies went away would be let in, and most programs drop the error of the close
// that tells what became of it.
func (m *Mirror) Reach() error {
	var calls sync.WaitGroup
	for s := range sides {
		calls.Go(func() { m.reach(s) })
	}
	calls.Wait()
	if err := m.Writable(); err != nil {
		return err
	}
	return m.room(0)
}

// reach asks s, if nobody has lately. Those who come meanwhile wait for the same answer.
func (m *Mirror) reach(s side) {
	m.health.inquiry[s] <- struct{}{} // at most reachTimeout
	defer func() { <-m.health.inquiry[s] }()
	if m.health.fresh(s) && !m.cutOff(s) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), reachTimeout)
	defer cancel()
	m.outcome(s, m.call(ctx, s))
	m.health.touch(s)
}

// cutOff says that the connection to s is gone, though nobody has called in vain yet.
func (m *Mirror) cutOff(s side) bool {
	c, ok := m.registry.(Connected)
	return s == registrySide && ok && !c.Connected() && m.health.lost(s) == nil
}

// touch notes that s was asked, with or without an answer.
func (h *health) touch(s side) {
	now := time.Now()
	h.touched[s].Store(&now)
}

// fresh says that there is no use in asking s now. A clock that is set back makes nobody fresh for an hour.
func (h *health) fresh(s side) bool {
	last := h.touched[s].Load()
	return last != nil && time.Since(*last) < reachFresh
}
