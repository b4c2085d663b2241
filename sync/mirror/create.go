package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Create makes a name, a config or a serverset, and subscribes deps to it; without deps the first of Options.Dependencies. A body that
// is not nil becomes the first version of a config before anybody follows it, so that nobody sees the name empty. It returns when
// this machine has the name, if it follows one of deps. ErrExist if there is such a name already. What a crash left half done is
// finished by doing it again.
func (m *Mirror) Create(ctx context.Context, name registry.Name, deps []registry.Dependency, body []byte, author string) error {
	if author == "" {
		author = "kingpin@" + m.o.Host
	}
	first := Publication{Name: name, Body: body, Author: author, Message: "created"}
	if err := m.checkCreate(first); err != nil {
		return err
	}
	deps, err := m.homes(deps)
	if err != nil {
		return err
	}
	t, cancel := m.newTask(ctx)
	defer cancel()
	published, err := m.create(t, first, deps)
	if err != nil {
		return err
	}
	m.log.Info("created", "name", name, "dependencies", deps, "author", author, "size", len(body))
	m.await(ctx, func() bool { return m.arrived(name, deps, published.Order) })
	return nil
}

func (m *Mirror) checkCreate(p Publication) error {
	if p.Name.Kind() == registry.Config {
		return m.checkPublication(p)
	}
	if _, err := registry.ParseName(string(p.Name)); err != nil {
		return err
	}
	if p.Body != nil {
		return fmt.Errorf("%s is a serverset, its members register themselves: it is created without a body: %w", p.Name, registry.ErrInvalid)
	}
	return nil
}

// homes are the dependencies that a new name goes to.
func (m *Mirror) homes(deps []registry.Dependency) ([]registry.Dependency, error) {
	if len(deps) == 0 && len(m.o.Dependencies) > 0 {
		deps = m.o.Dependencies[:1]
	}
	if len(deps) == 0 {
		return nil, fmt.Errorf("say with --dep which dependency it is for, since this machine was told none: %w", registry.ErrInvalid)
	}
	return deps, nil
}

// create does what Create says, up to the last link. With a body it says what that was published as.
func (m *Mirror) create(t task, p Publication, deps []registry.Dependency) (published registry.State, err error) {
	unlock, err := m.locks.lock(t.ctx, p.Name)
	if err != nil {
		return published, fmt.Errorf("create %s: %w", p.Name, inTime(err))
	}
	defer m.wakeUp(p.Name)
	defer unlock()

	if p.Body != nil {
		if err := m.Check(t.ctx, p.Name, p.Body); err != nil {
			return published, err
		}
	}
	for _, dep := range deps {
		if _, err := m.mustHave(t.ctx, dep); err != nil {
			return published, fmt.Errorf("create %s: %w", p.Name, err)
		}
	}
	pointer, err := m.registry.State(t.ctx, p.Name.Pointer())
	if err != nil {
		return published, fmt.Errorf("create %s: %w", p.Name, inTime(err))
	}
	meta, err := m.registry.State(t.ctx, p.Name.Metaconfig())
	if err != nil {
		return published, fmt.Errorf("create %s: %w", p.Name, inTime(err))
	}
	if pointer.Exists && meta.Version != "" || pointer.Version != "" && p.Body != nil {
		return published, fmt.Errorf("%s exists; to follow it: kingpin dep add %s %s: %w", p.Name, deps[0], p.Name, registry.ErrExist)
	}
	if err := m.createPointer(t, p.Name); err != nil {
		return published, err
	}
	if p.Body != nil {
		body := registry.Body{Data: p.Body, Meta: registry.Meta{
			SHA256: registry.Sum(p.Body), Author: p.Author, Message: p.Message, Published: time.Now().UTC(),
		}}
		if published, err = m.put(t, p.Name.Pointer(), "", body, nil); err != nil {
			return published, fmt.Errorf("create %s: %w", p.Name, err)
		}
		m.believe(p.Name, published) // it may be here still, from before it was removed
	}
	return published, m.enrol(t, p.Name, p.Author, deps)
}

// createPointer makes the node of a name, if it is not there.
func (m *Mirror) createPointer(t task, name registry.Name) error {
	err := m.registry.Create(t.ctx, name.Pointer())
	m.answered(registrySide, err)
	if err != nil && !errors.Is(err, registry.ErrExist) {
		return fmt.Errorf("create %s: %w", name, inTime(err))
	}
	return nil
}

// enrol gives a name that has a node its metaconfig, which makes it one of the registry's names, and adds it to deps.
func (m *Mirror) enrol(t task, name registry.Name, author string, deps []registry.Dependency) error {
	err := m.registry.Create(t.ctx, name.Metaconfig())
	if err != nil && !errors.Is(err, registry.ErrExist) {
		return fmt.Errorf("create the metaconfig of %s: %w", name, inTime(err))
	}
	state, err := m.registry.State(t.ctx, name.Metaconfig())
	if err != nil {
		return fmt.Errorf("create the metaconfig of %s: %w", name, inTime(err))
	}
	if state.Version == "" {
		data, err := registry.NewMetaconfig(name).Format()
		if err != nil {
			return fmt.Errorf("metaconfig of %s: %w", name, err)
		}
		body := registry.Body{Data: data, Meta: registry.Meta{SHA256: registry.Sum(data), Author: author, Published: time.Now().UTC()}}
		_, err = m.put(t, name.Metaconfig(), "", body, nil)
		if err != nil && !errors.Is(err, registry.ErrConflict) { // lost to somebody who writes the same
			return fmt.Errorf("publish the metaconfig of %s: %w", name, err)
		}
	}
	for _, dep := range deps {
		err := m.registry.Link(t.ctx, dep, registry.Edge(name))
		if err != nil && !errors.Is(err, registry.ErrExist) {
			return fmt.Errorf("add %s to %s: %w", name, dep, inTime(err))
		}
		m.lookAgain(t.ctx, dep)
	}
	return nil
}

// enrolHere makes a name that its publication creates one of the registry's names, and one that this machine follows.
func (m *Mirror) enrolHere(t task, p Publication) error {
	if m.followed(p.Name) { // an edge was there before the name
		return m.enrol(t, p.Name, p.Author, nil)
	}
	deps, err := m.homes(nil)
	if err != nil {
		return err
	}
	if err := m.enrol(t, p.Name, p.Author, deps); err != nil {
		return err
	}
	m.await(t.ctx, func() bool {
		return m.followers[p.Name] != nil && m.shows(deps[0], []registry.Edge{registry.Edge(p.Name)}, true)
	})
	return nil
}

// arrived says whether a name that is in deps is here, no older than order, or is not to come here. The caller holds mu.
func (m *Mirror) arrived(name registry.Name, deps []registry.Dependency, order registry.Order) bool {
	followed := slices.ContainsFunc(deps, func(d registry.Dependency) bool { return m.dependencies[d] != nil })
	if !followed {
		return true
	}
	for _, dep := range deps {
		if !m.shows(dep, []registry.Edge{registry.Edge(name)}, true) {
			return false
		}
	}
	f := m.followers[name]
	if f == nil || f.condition != Current {
		return false
	}
	e, here := m.store.Current(f.file())
	return here && e.Order >= order
}
