package mirror

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// RegistrationState is how a registration stands.
type RegistrationState string

// The states. Both of those that are not Registered are tried again by themselves.
const (
	Unregistered RegistrationState = "pending"    // the registry has not answered yet, or is away
	Registered   RegistrationState = "registered" // other machines see it
	Refused      RegistrationState = "refused"    // the registry does not want it: there is no such serverset, or no right
)

// maxAttributes bounds what a holder may write, in bytes.
const maxAttributes = 4096

// seat is one endpoint in one serverset. Registrar.mu guards all but spot.
type seat struct {
	registrar *Registrar
	spot      spot
	stop      context.CancelFunc // ends the registration; nil: it has not begun

	holders int
	member  registry.Member
	wanted  chan registry.Member // where the registry takes member from
	state   RegistrationState
	node    string
	last    string // node that was the last one, and may be there still
	err     error  // why it is not Registered
	since   time.Time
	untold  bool          // the registry has not said yet that it has member as it is now
	changed chan struct{} // closed with the next change of state
}

var errUnanswered = errors.New("the registry has not answered yet")

func newSeat(r *Registrar, p spot) *seat {
	return &seat{
		registrar: r, spot: p, member: registry.Member{Endpoint: p.endpoint},
		state: Unregistered, err: errUnanswered, since: time.Now(), changed: make(chan struct{}),
	}
}

// open is where what is wanted comes from, the present member first.
func (s *seat) open() <-chan registry.Member {
	s.registrar.mu.Lock()
	defer s.registrar.mu.Unlock()
	s.wanted = make(chan registry.Member, 1)
	s.wanted <- s.member
	return s.wanted
}

// becomeLocked is a change of state, and keeps the time of one that stays.
func (s *seat) becomeLocked(state RegistrationState, node string, err error) {
	if s.state != state {
		s.since = time.Now()
	}
	s.state, s.node, s.err = state, node, err
	if node != "" {
		s.last = node
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// refuse notes that the registry does not want it.
func (s *seat) refuse(err error) {
	r := s.registrar
	r.mu.Lock()
	news := s.err == nil || s.err.Error() != err.Error()
	s.becomeLocked(Refused, "", err)
	r.mu.Unlock()
	if news {
		r.log.Warn("not registered", "name", s.spot.serverset, "endpoint", s.spot.endpoint, "error", err)
	}
}

// Registration is one holder's share in a seat.
type Registration struct {
	seat *seat
	once sync.Once
}

// Set says what readers of members are told beside the endpoint: {"weight": 2, "labels": {"zone": "a"}}, both optional. ErrInvalid
// if it is something else. Of several holders the last counts.
func (g *Registration) Set(data []byte) error {
	m, err := ParseAttributes(g.seat.spot.endpoint, data)
	if err != nil {
		return err
	}
	s := g.seat
	s.registrar.mu.Lock()
	defer s.registrar.mu.Unlock()
	if s.member.Weight == m.Weight && sameLabels(s.member.Labels, m.Labels) {
		return nil
	}
	s.member, s.untold = m, true
	if s.wanted == nil {
		return nil // it has not begun
	}
	select {
	case <-s.wanted: // nobody has taken the one before
	default:
	}
	s.wanted <- m
	return nil
}

// ParseAttributes reads what a holder writes into a file of .register. ErrInvalid and ErrTooLarge say in words what is wrong.
func ParseAttributes(e registry.Endpoint, data []byte) (registry.Member, error) {
	if len(data) > maxAttributes {
		return registry.Member{}, fmt.Errorf("%d bytes, at most %d: %w", len(data), maxAttributes, registry.ErrTooLarge)
	}
	var said struct {
		Weight int               `json:"weight"`
		Labels map[string]string `json:"labels"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&said)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something comes after it")
		}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = fmt.Errorf("%s cannot be a %s", cmp.Or(wrong.Field, "it"), wrong.Value)
	}
	if err != nil {
		return registry.Member{}, fmt.Errorf(`want {"weight": 2, "labels": {"zone": "a"}}: %w: %w`, err, registry.ErrInvalid)
	}
	m := registry.Member{Endpoint: e, Weight: said.Weight, Labels: said.Labels}
	_, err = registry.FormatMember(m)
	return m, err
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			return false
		}
	}
	return true
}

// Wait returns nil once other machines can see the registration, and what was said with Set, and an error if the registry refuses it or
// ctx is done.
func (g *Registration) Wait(ctx context.Context) error {
	s := g.seat
	for {
		s.registrar.mu.Lock()
		state, err, changed, untold := s.state, s.err, s.changed, s.untold
		s.registrar.mu.Unlock()
		switch {
		case state == Registered && !untold:
			return nil
		case state == Refused:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("register %s in %s: %v: %w", s.spot.endpoint, s.spot.serverset, err, inTime(ctx.Err()))
		}
	}
}

// Node is that of the member, "" unless it is Registered.
func (g *Registration) Node() string {
	g.seat.registrar.mu.Lock()
	defer g.seat.registrar.mu.Unlock()
	return g.seat.node
}

// State is how it stands, and why it is not Registered.
func (g *Registration) State() (RegistrationState, error) {
	g.seat.registrar.mu.Lock()
	defer g.seat.registrar.mu.Unlock()
	return g.seat.state, g.seat.err
}

// Close leaves, if nobody else holds the same. It does not wait; Registrar.Run does.
func (g *Registration) Close() {
	g.once.Do(func() {
		s := g.seat
		r := s.registrar
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.holders--; s.holders > 0 {
			return
		}
		delete(r.seats, s.spot)
		if s.stop != nil {
			s.stop()
		}
		s.becomeLocked(Refused, "", fmt.Errorf("it was closed: %w", registry.ErrInvalid))
		r.ledger.changed()
	})
}
