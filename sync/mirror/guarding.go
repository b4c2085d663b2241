package mirror

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// guarded is a follower's guard, and what its file was when the guard last looked. Whoever has the name's lock has it.
type guarded struct {
	guard *guard
	stamp disk.Stamp
}

// bringServerset is bringHome of a serverset: the file shows what its guard lets it show.
func (m *Mirror) bringServerset(name registry.Name, w word, current disk.Entry, here bool) (disk.Entry, error) {
	f, l := m.sight(name, w)
	if f == nil {
		return current, nil // it has left meanwhile
	}
	damaged := m.damaged(name)
	if here && !damaged && !l.accepted && w.exists && w.order < current.Order && current.SHA256 != registry.Sum(w.members) {
		return current, wentBack(w, current)
	}
	g, err := m.guardOf(f, current, here, l.losses)
	if err != nil && len(w.serving) == 0 {
		return current, held{cause: Empty, reason: fmt.Sprintf("empty, and its file was damaged: %v", err)}
	}
	again := g.step(l)
	if file := registry.FormatEndpoints(endpoints(g.places)); !here || damaged || current.SHA256 != registry.Sum(file) {
		current, err = m.update(disk.Commit{
			File:      disk.File{Kind: registry.Serverset, Name: string(name)},
			Order:     max(w.order, current.Order), // a node that is not there has none
			Body:      file,
			Published: time.Now(),
		})
		if err != nil {
			f.guarded = guarded{} // it starts anew from what is on disk
			return current, err
		}
		f.guarded.stamp = current.Stamp
		m.mu.Lock()
		f.pace = f.pace.spend(time.Now())
		m.mu.Unlock()
	}
	hold := m.noteGuard(f, g)
	if again > 0 {
		m.lookLater(f, again)
	}
	if hold.Reason != "" && hold.Reason != Damped {
		return current, held{cause: hold.Reason, reason: hold.String()}
	}
	return current, nil
}

// guardOf is the guard of f, a new one if its file is not what the last one made it. Of a file that cannot be read, which is an error,
// the guard knows nothing.
func (m *Mirror) guardOf(f *follower, current disk.Entry, here bool, losses int64) (*guard, error) {
	if f.guarded.guard != nil && f.guarded.stamp == current.Stamp {
		return f.guarded.guard, nil
	}
	shown, err := m.linesOf(current, here)
	f.guarded = guarded{newGuard(m.rulesFor(f.name), shown, losses), current.Stamp}
	return f.guarded.guard, err
}

// sight is what the registry says about a serverset, for its guard. There is no follower if the name has left.
func (m *Mirror) sight(name registry.Name, w word) (*follower, look) {
	l := look{
		now: time.Now(), exists: w.exists, said: w.serving, losses: m.health.losses.Load(), blind: m.health.lost(registrySide) != nil,
	}
	if behind, ok := m.registry.(Losses); ok {
		count, away := behind.Losses()
		l.losses += count
		l.blind = l.blind || away != nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, l.accepted = m.accepted.valid(name, l.now)
	return m.followers[name], l
}

func (m *Mirror) rulesFor(name registry.Name) GuardRules {
	if m.o.Guard == nil {
		return DefaultGuard()
	}
	return m.o.Guard(name)
}

// linesOf are the endpoints of a serverset file on disk. They are taken as they are: they were checked before they were written.
func (m *Mirror) linesOf(e disk.Entry, here bool) ([]registry.Endpoint, error) {
	if !here {
		return nil, nil
	}
	body, err := m.read(e)
	if err != nil {
		return nil, err
	}
	var lines []registry.Endpoint
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, registry.Endpoint(line))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// noteGuard shows to others what a guard has decided.
func (m *Mirror) noteGuard(f *follower, g *guard) Hold {
	hold := g.hold()
	m.mu.Lock()
	defer m.mu.Unlock()
	f.hold, f.places = hold, g.places
	return hold
}

// lookLater has the guard of f look again: the registry is asked then, so that nobody leaves a file who is back.
func (m *Mirror) lookLater(f *follower, after time.Duration) {
	m.mu.Lock()
	f.ask = true
	m.mu.Unlock()
	m.queue.addLater(f, after)
}
