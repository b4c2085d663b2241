package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// ServersetStatus is how one followed serverset is on this machine.
type ServersetStatus struct {
	Name      registry.Name
	Applied   int  // members in its file
	Published int  // members in the registry, as far as it was heard
	Heard     bool // the registry, since the start
	Hold      Hold // why the two differ; no Reason: they do not
	Accepted  time.Time
	By        string // who has accepted it until then
	Here      bool   // on this machine alone
}

// Serversets is how every followed serverset is on this machine, sorted by name.
func (m *Mirror) Serversets() []ServersetStatus {
	now := time.Now()
	m.mu.Lock()
	list := []ServersetStatus{}
	var followers []*follower
	for name, f := range m.followers {
		if name.Kind() != registry.Serverset || f.absent() {
			continue
		}
		s := ServersetStatus{Name: name, Published: len(f.word.serving), Heard: f.word.heard, Hold: f.hold}
		if a, here, ok := m.accepted.valid(name, now); ok {
			s.Accepted, s.By, s.Here = a.Until, a.By, here
		}
		list = append(list, s)
		followers = append(followers, f)
	}
	m.mu.Unlock()
	for i, f := range followers {
		places, _ := m.placesOf(f)
		list[i].Applied = len(places)
	}
	slices.SortFunc(list, func(a, b ServersetStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Standing is how a line of a serverset file stands with the registry.
type Standing string

// The standings.
const (
	Serving Standing = "serving" // the registry has it
	Gone    Standing = "held"    // the registry has it no more, and the guard holds it
	Unheard Standing = "unknown" // the registry was not heard since the start: only the endpoint is known
)

// member is an element of Members.
type member struct {
	Endpoint registry.Endpoint `json:"endpoint"`
	Weight   int               `json:"weight"` // 0: unsaid
	Labels   map[string]string `json:"labels"`
	Since    time.Time         `json:"since,omitzero"` // when it joined
	State    Standing          `json:"state"`
	Gone     time.Time         `json:"gone,omitzero"` // since when it is held
}

// Members is the lines of a serverset's file as a JSON list, sorted by endpoint, with what its members say of themselves. It asks
// nobody: after a start without the registry only the endpoints are known, and the rest is left out rather than made up. ok is false
// if this machine has no such file.
func (m *Mirror) Members(name registry.Name) (data []byte, ok bool) {
	if name.Kind() != registry.Serverset {
		return nil, false
	}
	m.mu.Lock()
	f := m.followers[name]
	m.mu.Unlock()
	if f == nil {
		return nil, false
	}
	places, ok := m.placesOf(f)
	return formatMembers(places), ok
}

// PublishedMembers is Members as the registry has them, of any serverset. ErrNotExist.
func (m *Mirror) PublishedMembers(ctx context.Context, name registry.Name) ([]byte, error) {
	if name.Kind() != registry.Serverset {
		return nil, fmt.Errorf("%s is no serverset: %w", name, registry.ErrInvalid)
	}
	w, err := m.ask(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case !w.exists:
		return nil, fmt.Errorf("serverset %s: %w", name, registry.ErrNotExist)
	}
	return formatMembers(whole(look{exists: true, said: w.serving})), nil
}

func formatMembers(places []place) []byte {
	list := make([]member, len(places))
	for i, p := range places {
		list[i] = p.member()
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		panic(err) // our own types, without cycles, functions or NaN
	}
	return append(data, '\n')
}

// placesOf are the lines of a serverset's file: as the guard knows them, or before it has looked, as they are on disk.
func (m *Mirror) placesOf(f *follower) (places []place, ok bool) {
	m.mu.Lock()
	places = f.places
	m.mu.Unlock()
	if places != nil {
		return places, true
	}
	current, here := m.store.Current(f.file())
	lines, err := m.linesOf(current, here)
	return newGuard(DefaultGuard(), lines, 0).places, here && err == nil
}

func (p place) member() member {
	said := member{Endpoint: p.Endpoint, Weight: p.Weight, Labels: maps.Clone(p.Labels), Since: p.Since, State: Serving, Gone: p.gone}
	switch {
	case !p.gone.IsZero():
		said.State = Gone
	case p.Node == "":
		said.State = Unheard
	}
	if said.Labels == nil {
		said.Labels = map[string]string{}
	}
	return said
}
