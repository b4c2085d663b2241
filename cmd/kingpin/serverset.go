package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// serversetStatus is a member of .status/serversets.json and of GET /v1/serversets.
type serversetStatus struct {
	Name      string          `json:"name"`
	Applied   int             `json:"applied"`   // members in its file
	Published int             `json:"published"` // members in the registry, as it was heard last
	Heard     bool            `json:"heard"`     // the registry, since the server was started
	Held      *holdStatus     `json:"held"`      // null: the file shows what the registry does
	Accepted  *acceptedStatus `json:"accepted"`  // null: nobody has said that whatever the registry shows is believed
}

// holdStatus is why a serverset file shows more members than the registry does.
type holdStatus struct {
	Reason string    `json:"reason"` // empty, shrunk, deleted, or damped: only for a moment
	Since  time.Time `json:"since"`
	Was    int       `json:"was"`            // members in the file when it began
	Now    int       `json:"now"`            // members in the registry
	Until  time.Time `json:"until,omitzero"` // when some of them leave the file, if nothing changes; absent: not by itself
}

// acceptedStatus is what kingpin accept has said.
type acceptedStatus struct {
	Until time.Time `json:"until"`
	By    string    `json:"by"`
	Here  bool      `json:"here"` // on this machine alone
}

// serversets is serversets.json: every serverset that is followed here, sorted.
func (s *server) serversets() []serversetStatus {
	list := []serversetStatus{}
	m, err := s.engine.get()
	if err != nil {
		for _, e := range s.store.List(registry.Serverset) {
			body, _ := s.readBody(e.Stamp) // what cannot be read has no members
			lines, _ := registry.ParseServerset(body)
			list = append(list, serversetStatus{Name: e.Name, Applied: len(lines)})
		}
		return list
	}
	for _, one := range m.Serversets() {
		list = append(list, statusOfServerset(one))
	}
	return list
}

func statusOfServerset(one mirror.ServersetStatus) serversetStatus {
	n := serversetStatus{Name: string(one.Name), Applied: one.Applied, Published: one.Published, Heard: one.Heard}
	if h := one.Hold; h.Reason != "" {
		n.Held = &holdStatus{Reason: string(h.Reason), Since: h.Since.UTC(), Was: h.Was, Now: h.Now}
		if !h.Until.IsZero() {
			n.Held.Until = h.Until.UTC()
		}
	}
	if !one.Accepted.IsZero() {
		n.Accepted = &acceptedStatus{Until: one.Accepted.UTC(), By: one.By, Here: one.Here}
	}
	return n
}

// serverset is how one is here; ok is false if it is not followed.
func (s *server) serverset(name registry.Name) (n serversetStatus, ok bool) {
	for _, one := range s.serversets() {
		if one.Name == string(name) {
			return one, true
		}
	}
	return serversetStatus{}, false
}

// members is what .members/NAME holds.
func (s *server) members(name registry.Name) ([]byte, bool) {
	m, err := s.engine.get()
	if err != nil {
		return nil, false
	}
	return m.Members(name)
}

func (s *server) getMembers(r *http.Request) (any, error) {
	m, name, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	if s.direct {
		return m.PublishedMembers(r.Context(), name)
	}
	data, ok := m.Members(name)
	if !ok {
		return nil, fmt.Errorf("serverset %s is not followed here: %w", name, registry.ErrNotExist)
	}
	return data, nil
}

// serversets that this machine follows, from the mount or from the monitor.
func (t *tree) serversets(ctx context.Context, inv *invocation) ([]serversetStatus, error) {
	var all []serversetStatus
	data, err := os.ReadFile(filepath.Join(t.root, ".status", "serversets.json"))
	if !t.served || err != nil {
		ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
		defer cancel()
		return all, t.control.call(ctx, "GET", "/v1/serversets", nil, &all)
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s/.status/serversets.json: %w", t.root, err)
	}
	return all, nil
}
