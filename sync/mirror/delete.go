package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// Delete takes a name that no dependency holds, and that nobody serves, out of the registry. Its bodies stay. ErrNotExist; ErrInvalid
// if a dependency holds it, ErrNotEmpty if somebody serves it.
func (m *Mirror) Delete(ctx context.Context, name registry.Name, by string) error {
	if _, err := registry.ParseName(string(name)); err != nil {
		return err
	}
	if name == registry.DeciderName {
		return fmt.Errorf("%s is every machine's, it cannot be removed: %w", name, registry.ErrInvalid)
	}
	t, cancel := m.newTask(ctx)
	defer cancel()
	unlock, err := m.locks.lock(t.ctx, name)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, inTime(err))
	}
	defer m.wakeUp(name)
	defer unlock()
	if err := m.delete(t, name, by); err != nil {
		return fmt.Errorf("remove %s: %w", name, inTime(err))
	}
	m.log.Info("removed from the registry", "name", name, "author", by)
	m.mu.Lock()
	f := m.followers[name]
	leaves := f != nil && !f.leaving.IsZero()
	m.mu.Unlock()
	if leaves { // it stays after its last subscription for the case that this was a mistake, and now it was none
		m.end(f)
	}
	return nil
}

// delete removes the metaconfig first: from then on nobody can subscribe to the name, so that whoever holds it then has come before
// and gets it back.
func (m *Mirror) delete(t task, name registry.Name, by string) error {
	if err := m.unheld(t.ctx, name); err != nil {
		return err
	}
	metaErr := m.registry.Delete(t.ctx, name.Metaconfig())
	m.answered(registrySide, metaErr)
	if metaErr != nil && !errors.Is(metaErr, registry.ErrNotExist) {
		return metaErr
	}
	if err := m.unheld(t.ctx, name); err != nil {
		return errors.Join(err, m.enrol(t, name, by, nil))
	}
	err := m.registry.Delete(t.ctx, name.Pointer())
	switch {
	case errors.Is(err, registry.ErrNotExist) && metaErr != nil:
		return err
	case errors.Is(err, registry.ErrNotExist):
		return nil
	case errors.Is(err, registry.ErrNotEmpty): // names below it, or a member that came meanwhile: it is no name any more all the same
		m.log.Warn("its node stays, there is something below it", "name", name)
		return nil
	}
	return err
}

// unheld is why a name cannot go.
func (m *Mirror) unheld(ctx context.Context, name registry.Name) error {
	dependencies, err := m.registry.Dependencies(ctx)
	if err != nil {
		return err
	}
	var holders []string
	for _, d := range dependencies {
		edges, err := m.edges(ctx, d)
		if err != nil {
			return err
		}
		for _, edge := range edges.Members {
			if edge == registry.Edge(name) {
				holders = append(holders, string(d))
			}
		}
	}
	if len(holders) > 0 {
		return fmt.Errorf("%s %s it; first: kingpin dep rm %s %s: %w",
			strings.Join(holders, ", "), map[bool]string{true: "holds", false: "hold"}[len(holders) == 1], holders[0], name, registry.ErrInvalid)
	}
	if name.Kind() != registry.Serverset {
		return nil
	}
	members, err := first(ctx, m.registry.Members(ctx, name))
	if err == nil && len(members.Members) > 0 {
		err = fmt.Errorf("%d registrations are in it: %w", len(members.Members), registry.ErrNotEmpty)
	}
	return err
}
