package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Serversets is where members are kept and names are known.
type Serversets interface {
	// Keep has a member in a serverset until ctx is done, over lost connections and sessions. ErrNotExist if there is no such
	// serverset; an error is the end of it.
	Keep(ctx context.Context, name registry.Name, k registry.Keeping) error
	// Names lists every name of the registry.
	Names(ctx context.Context) ([]registry.Name, error)
}

// RegistrarOptions of a Registrar. The zero value is that of a machine in a fleet.
type RegistrarOptions struct {
	Loopback bool         // addresses that only this machine reaches may be registered
	Ledger   string       // file in which the next process finds what this one has registered, "": there is none
	Logger   *slog.Logger // nil: nothing is logged
}

// refusedPause is the longest pause before the registry is asked again for what it has refused.
const refusedPause = 5 * time.Second

// Registrar registers endpoints of this machine, each once however many programs hold it. It is there before its registry is, and
// never makes a holder wait for it.
type Registrar struct {
	o      RegistrarOptions
	log    *slog.Logger
	ledger *ledger

	mu     sync.Mutex
	seats  map[spot]*seat
	begin  func(*seat) // makes a seat's registration begin; nil: nobody runs
	served bool        // somebody has run
}

// spot is what a registration is about.
type spot struct {
	serverset registry.Name
	endpoint  registry.Endpoint
}

// NewRegistrar returns a registrar that registers nothing before Run.
func NewRegistrar(o RegistrarOptions) *Registrar {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{o: o, log: o.Logger, ledger: openLedger(o.Ledger, o.Logger), seats: map[spot]*seat{}}
}

// Register has an endpoint of this machine in a serverset until the Registration is closed. It does not wait: the registry may be
// away. ErrInvalid for what would never be of use to anybody.
func (r *Registrar) Register(name registry.Name, e registry.Endpoint) (*Registration, error) {
	if _, err := registry.ParseName(string(name)); err != nil {
		return nil, err
	}
	if name.Kind() != registry.Serverset {
		return nil, fmt.Errorf("%s is a %s, and only serversets have members: %w", name, name.Kind(), registry.ErrInvalid)
	}
	e, err := registry.ParseEndpoint(string(e))
	if err != nil {
		return nil, err
	}
	if !r.o.Loopback {
		if err := Routable(e); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := spot{name, e}
	s := r.seats[p]
	if s == nil {
		s = newSeat(r, p)
		r.seats[p] = s
		if r.begin != nil {
			r.begin(s)
		}
	}
	s.holders++
	return &Registration{seat: s}, nil
}

// Routable says whether other machines can mean this one by the endpoint: not a loopback address, none that stands for any, none of
// many. ErrInvalid if not.
func Routable(e registry.Endpoint) error {
	host := e.Host()
	addr, err := netip.ParseAddr(host)
	local := strings.TrimSuffix(strings.ToLower(host), ".")
	switch addr = addr.Unmap(); {
	case err != nil && (local == "localhost" || strings.HasPrefix(local, "localhost.") || strings.HasSuffix(local, ".localhost")),
		err == nil && addr.IsLoopback():
		return fmt.Errorf("%s is this machine for itself only: who reads it elsewhere would call his own: %w", e, registry.ErrInvalid)
	case err == nil && addr.IsUnspecified():
		return fmt.Errorf("%s is no address but every address of this machine: register one that others can reach: %w", e, registry.ErrInvalid)
	case err == nil && addr.IsMulticast():
		return fmt.Errorf("%s is the address of many: %w", e, registry.ErrInvalid)
	}
	return nil
}

// Run registers what is held, now and later, until ctx is done. Then everything has left. A Registrar runs once.
func (r *Registrar) Run(ctx context.Context, reg Serversets) error {
	r.mu.Lock()
	if r.served {
		r.mu.Unlock()
		return errors.New("registrar: Run was called before")
	}
	r.served = true
	var seated sync.WaitGroup
	r.begin = func(s *seat) {
		ctx, stop := context.WithCancel(ctx)
		s.stop = stop
		seated.Go(func() { defer stop(); r.keep(ctx, reg, s) })
	}
	for _, s := range r.seats {
		r.begin(s)
	}
	r.mu.Unlock()

	r.ledger.run(ctx, r.nodes)
	r.mu.Lock()
	r.begin = nil
	for _, s := range r.seats {
		s.becomeLocked(Unregistered, "", errors.New("the monitor is stopping"))
	}
	r.mu.Unlock()
	seated.Wait()
	return nil
}

// keep is the life of one seat. What the registry refuses is tried again: an operator may be about to make the serverset.
func (r *Registrar) keep(ctx context.Context, reg Serversets, s *seat) {
	for failures := 1; ; failures++ {
		err := reg.Keep(ctx, s.spot.serverset, registry.Keeping{
			Wanted: s.open(),
			Former: r.ledger.former(s.spot),
			Told:   func(node string, err error) { r.told(s, node, err) },
		})
		if ctx.Err() != nil {
			return
		}
		s.refuse(r.explain(ctx, reg, s, err))
		if !pause(ctx, min(backoff(failures), rand.N(refusedPause))) {
			return
		}
	}
}

// told is what the registry says of a seat.
func (r *Registrar) told(s *seat, node string, err error) {
	r.mu.Lock()
	before := s.state
	if err != nil {
		s.becomeLocked(Unregistered, "", err)
	} else {
		s.untold = s.untold && len(s.wanted) > 0 // what is in there comes next
		s.becomeLocked(Registered, node, nil)
	}
	r.mu.Unlock()
	switch {
	case err == nil && before != Registered:
		r.log.Info("registered", "name", s.spot.serverset, "endpoint", s.spot.endpoint, "node", node)
	case err != nil && before == Registered:
		r.log.Warn("not registered any more", "name", s.spot.serverset, "endpoint", s.spot.endpoint, "error", err)
	}
	r.ledger.changed()
}

// explain adds to a refusal what the user may have meant. He is told once: to list all names is much to ask.
func (r *Registrar) explain(ctx context.Context, reg Serversets, s *seat, err error) error {
	name := s.spot.serverset
	r.mu.Lock()
	before := s.err
	r.mu.Unlock()
	switch {
	case !errors.Is(err, registry.ErrNotExist):
		return err
	case errors.Is(before, registry.ErrNotExist):
		return before
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	names, listErr := reg.Names(ctx)
	if listErr == nil && slices.Contains(names, name) {
		return fmt.Errorf("the node of %s was deleted; to make it again: kingpin create %s: %w", name, name, registry.ErrNotExist)
	}
	names = slices.DeleteFunc(names, func(n registry.Name) bool { return n.Kind() != registry.Serverset })
	if nearest, ok := registry.Nearest(string(name), names); listErr == nil && ok {
		return fmt.Errorf("no serverset %s, the nearest is %s: %w", name, nearest, registry.ErrNotExist)
	}
	return fmt.Errorf("no serverset %s; to make it: kingpin create %s: %w", name, name, registry.ErrNotExist)
}

// nodes are those that the next process would have to take over.
func (r *Registrar) nodes() map[spot]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	nodes := map[spot]string{}
	for p, s := range r.seats {
		if s.last != "" {
			nodes[p] = s.last
		}
	}
	return nodes
}

// RegistrationStatus is how one registration is.
type RegistrationStatus struct {
	Serverset registry.Name
	Endpoint  registry.Endpoint
	State     RegistrationState
	Reason    string    // why it is not Registered
	Since     time.Time // of State
	Node      string    // of the member; "" unless Registered
	Holders   int       // who hold it on this machine
	Weight    int
	Labels    map[string]string
}

// Registrations are those that are held, sorted.
func (r *Registrar) Registrations() []RegistrationStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []RegistrationStatus
	for p, s := range r.seats {
		status := RegistrationStatus{
			Serverset: p.serverset, Endpoint: p.endpoint, State: s.state, Since: s.since, Node: s.node, Holders: s.holders,
			Weight: s.member.Weight, Labels: s.member.Labels,
		}
		if s.err != nil {
			status.Reason = s.err.Error()
		}
		all = append(all, status)
	}
	slices.SortFunc(all, func(a, b RegistrationStatus) int {
		if c := strings.Compare(string(a.Serverset), string(b.Serverset)); c != 0 {
			return c
		}
		return strings.Compare(string(a.Endpoint), string(b.Endpoint))
	})
	return all
}
