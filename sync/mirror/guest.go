package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// A dependency that was made here, by mkdir, is shown here from then on: whoever made a directory wants to put something into it. It is
// a guest: its members are shown, and not followed, unless something else holds them. It goes when it is deleted.

const (
	// guestsFile says in the state directory which they are.
	guestsFile = "guests.json"
	// maxGuests bounds them. The oldest make room: they are only shown no longer.
	maxGuests = 64
)

// recallGuests reads which guests there were in an earlier life.
func (m *Mirror) recallGuests() {
	data, err := os.ReadFile(filepath.Join(m.store.Dir(), guestsFile))
	if err == nil {
		err = json.Unmarshal(data, &m.guests)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("dependencies that were made here are not shown any more, unless they are followed", "error", err)
		m.guests = nil
	}
	m.guests = slices.DeleteFunc(m.guests, func(d registry.Dependency) bool {
		_, err := registry.ParseDependency(string(d))
		return err != nil
	})
}

// MakeDependency is CreateDependency of one that this machine shows from now on. One that exists is shown too, though that is ErrExist.
func (m *Mirror) MakeDependency(ctx context.Context, dep registry.Dependency) error {
	ctx, cancel := context.WithTimeout(ctx, m.o.PublishTimeout)
	defer cancel()
	failed := m.CreateDependency(ctx, dep)
	if failed != nil && !errors.Is(failed, registry.ErrExist) {
		return failed
	}
	m.invite(dep)
	m.saveGuests()
	m.replan()
	m.await(ctx, func() bool { _, shown := m.shown[dep]; return shown })
	return failed
}

// invite makes a dependency a guest.
func (m *Mirror) invite(dep registry.Dependency) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.guests, dep) {
		return
	}
	guests := append(slices.Clone(m.guests), dep)
	m.guests, m.guestsNew = guests[max(0, len(guests)-maxGuests):], true
}

// dismiss forgets a guest that was deleted. The caller holds mu.
func (m *Mirror) dismiss(dep registry.Dependency) {
	if slices.Contains(m.guests, dep) {
		m.guests = slices.DeleteFunc(slices.Clone(m.guests), func(d registry.Dependency) bool { return d == dep })
		m.guestsNew = true
	}
}

// saveGuests notes down which they are, if that has changed. One that is not noted down is not shown any more after a restart.
func (m *Mirror) saveGuests() {
	m.guestsSaving.Lock()
	defer m.guestsSaving.Unlock()
	m.mu.Lock()
	guests, changed := m.guests, m.guestsNew
	m.guestsNew = false
	m.mu.Unlock()
	if !changed {
		return
	}
	data, err := json.Marshal(guests)
	if err == nil {
		path := filepath.Join(m.store.Dir(), guestsFile)
		err = os.WriteFile(path+".new", data, 0o600)
		if err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		m.log.Warn("dependencies that were made here are not noted down", "error", err)
	}
}

// surveyGuests starts to listen to guests, and lets those go that are no more. The caller holds mu.
func (m *Mirror) surveyGuests(ctx context.Context, reached map[registry.Dependency]struct{}) {
	for _, name := range m.guests {
		_, followed := reached[name]
		d := m.dependency(ctx, name)
		d.guest = !followed
		if d.guest && d.known && d.empty() {
			m.dismiss(name)
			continue
		}
		reached[name] = struct{}{}
	}
}
