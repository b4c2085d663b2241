package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Metaconfig is what the registry tells old monitors to do about a name; this system goes by the name, and only heeds the wait. It is
// empty if nobody has written it. ErrNotExist if there is no such name.
func (m *Mirror) Metaconfig(ctx context.Context, name registry.Name) ([]byte, error) {
	body, _, err := m.metaconfig(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("metaconfig of %s: %w", name, inTime(err))
	}
	return body, nil
}

func (m *Mirror) metaconfig(ctx context.Context, name registry.Name) ([]byte, registry.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	state, err := m.registry.State(ctx, name.Metaconfig())
	m.outcome(registrySide, err)
	switch {
	case err != nil:
		return nil, "", err
	case !state.Exists:
		return nil, "", registry.ErrNotExist
	case state.Version == "":
		return nil, "", nil
	}
	body, err := m.bodies.Fetch(ctx, name.Metaconfig().Key(state.Version))
	m.answered(bodiesSide, err)
	return body.Data, state.Version, err
}

// EditMetaconfig replaces the metaconfig of a name by what edit makes of it. Edit is given none if there is none that can be read, and
// may be called again if somebody else was faster. ErrInvalid if the new one cannot be read, or no longer follows the name.
func (m *Mirror) EditMetaconfig(ctx context.Context, name registry.Name, by string, edit func(registry.Metaconfig) (registry.Metaconfig, error)) ([]byte, error) {
	t, cancel := m.newTask(ctx)
	defer cancel()
	for {
		data, err := m.editMetaconfig(t, name, by, edit)
		if !errors.Is(err, registry.ErrConflict) {
			if err != nil {
				err = fmt.Errorf("metaconfig of %s: %w", name, inTime(err))
			}
			return data, err
		}
	}
}

func (m *Mirror) editMetaconfig(t task, name registry.Name, by string, edit func(registry.Metaconfig) (registry.Metaconfig, error)) ([]byte, error) {
	before, base, err := m.metaconfig(t.ctx, name)
	if err != nil && !errors.Is(err, registry.ErrChecksum) {
		return nil, err
	}
	sections, _ := registry.ParseMetaconfig(before) // what cannot be read is what is to be replaced
	if sections, err = edit(sections); err != nil {
		return nil, err
	}
	data, err := sections.Format()
	if err == nil {
		_, err = checkMetaconfig(name, data)
	}
	if err != nil {
		return nil, err
	}
	if bytes.Equal(data, before) {
		return data, nil
	}
	body := registry.Body{Data: data, Meta: registry.Meta{SHA256: registry.Sum(data), Author: by, Published: time.Now().UTC()}}
	if _, err := m.put(t, name.Metaconfig(), base, body, nil); err != nil {
		return nil, err
	}
	m.log.Info("metaconfig published", "name", name, "author", by, "size", len(data))
	m.refresh(name)
	return data, nil
}
