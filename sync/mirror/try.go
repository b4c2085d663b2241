package mirror

import (
	"context"
	"fmt"
)

// Try changes nothing in the registry and returns the error with which Publish would refuse p now, nil if it would not.
func (m *Mirror) Try(ctx context.Context, p Publication) error {
	if err := m.checkPublication(p); err != nil {
		return err
	}
	t, cancel := m.newTask(ctx)
	defer cancel()
	unlock, err := m.locks.lock(t.ctx, p.Name)
	if err != nil {
		return fmt.Errorf("try %s: another publication of it is under way: %w", p.Name, inTime(err))
	}
	defer m.wakeUp(p.Name)
	defer unlock()
	state, err := m.look(t, p)
	if err == nil && p.Decider == "" {
		err = m.Check(t.ctx, p.Name, p.Body)
	}
	if err != nil || !state.Exists {
		return err
	}
	if p.Decider != "" {
		_, err = m.deciders(t, p, state)
		return err
	}
	_, err = m.judge(t, p, state)
	return err
}
