package mirror

import (
	"bytes"
	"fmt"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// checkDecider refuses a change of one decider that can be refused by looking at it.
func (p Publication) checkDecider() error {
	if p.Name != registry.DeciderName {
		return fmt.Errorf("decider %s: deciders are in %s, not in %s: %w", p.Decider, registry.DeciderName, p.Name, registry.ErrInvalid)
	}
	if p.Remove {
		return nil // whatever it is called
	}
	_, err := registry.SetDecider(nil, p.Decider, p.Percent)
	return err
}

// attemptDecider is attempt for one decider: the map that is current now, with this entry changed, replaces exactly that map. Who
// changes another decider meanwhile makes ErrConflict of it, and publish comes again with his map.
func (m *Mirror) attemptDecider(t task, p Publication, state registry.State) (e disk.Entry, published bool, err error) {
	deciders, err := m.deciders(t, p, state)
	if err != nil {
		return disk.Entry{}, false, err
	}
	file := disk.File{Kind: registry.Decider, Name: p.Decider}
	current, _ := m.store.Current(file) // as in the map: to bring that home has brought home this
	if p.CompareAndSet && current.Version != p.Base {
		return disk.Entry{}, false, fmt.Errorf("decider %s is at version %s now, and this was made from %s: %w",
			p.Decider, current.Version, p.Base, registry.ErrConflict)
	}
	next := p
	if p.Remove {
		next.Body, err = registry.RemoveDecider(deciders, p.Decider)
	} else {
		next.Body, err = registry.SetDecider(deciders, p.Decider, p.Percent)
	}
	if next.Message == "" {
		next.Message = p.decision()
	}
	switch {
	case err != nil:
		return disk.Entry{}, false, err
	case state.Exists && bytes.Equal(next.Body, deciders):
		return current, false, nil
	case int64(len(next.Body)) > m.o.MaxBody:
		return disk.Entry{}, false, fmt.Errorf("with decider %s the deciders have %d bytes, at most %d are published (--max-body): %w",
			p.Decider, len(next.Body), m.o.MaxBody, registry.ErrTooLarge)
	}
	if !state.Exists {
		if err := m.createPointer(t, p.Name); err != nil {
			return disk.Entry{}, false, err
		}
	}
	next.CompareAndSet = false // the decider's base has been compared; a map that changes now is another attempt
	e, published, err = m.advanceTo(t, next, state)
	if decider, here := m.store.Current(file); here {
		return decider, published, err
	}
	return e, published, err // it is gone: what is left is the version of the map
}

// decision is the message of a version of the map whose author gave none: its history would not say otherwise what was decided.
func (p Publication) decision() string {
	if p.Remove {
		return p.Decider + " removed"
	}
	return fmt.Sprintf("%s %d", p.Decider, p.Percent)
}

// deciders is the present map, brought home.
func (m *Mirror) deciders(t task, p Publication, state registry.State) ([]byte, error) {
	if !state.Exists {
		return nil, nil
	}
	now, err := m.present(t.ctx, p.Name, state)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not published: %w", err)
	case !now.known:
		return nil, fmt.Errorf("not published: version %s of %s, which holds the deciders, cannot be read: %w",
			state.Version, p.Name, registry.ErrInvalid)
	}
	body, err := m.read(now.entry)
	if err != nil {
		return nil, fmt.Errorf("not published: %w", err)
	}
	return body, nil
}
