package mirror

import (
	"context"
	"fmt"

	"github.com/kingpinfs/kingpin/registry"
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
	state, err := m.registry.State(t.ctx, p.Name.Pointer())
	m.answered(registrySide, err)
	switch {
	case err != nil:
		return fmt.Errorf("read the present version of %s: %w", p.Name, inTime(err))
	case !state.Exists && !p.Create:
		return fmt.Errorf("%s does not exist, kingpin create makes it: %w", p.Name, registry.ErrNotExist)
	case !state.Exists:
		return nil
	}
	present, err := m.present(t.ctx, p.Name, state)
	switch {
	case err != nil:
		return err
	case present.is(p.Body):
		return nil
	case p.CompareAndSet && state.Version != p.Base:
		return m.conflict(p, present)
	}
	return present.guard(p)
}
