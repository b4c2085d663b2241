package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// acceptRequest is the body of POST /v1/names/NAME/accept.
type acceptRequest struct {
	For  float64 `json:"for"`  // seconds; 0 ends an earlier acceptance
	Here bool    `json:"here"` // on this machine alone
}

// acceptance answers it, and is what kingpin accept NAME prints.
type acceptance struct {
	Name      string      `json:"name"`
	Until     time.Time   `json:"until"`
	By        string      `json:"by"`
	Here      bool        `json:"here"`      // on this machine alone
	Followed  bool        `json:"followed"`  // by this machine
	Held      *holdStatus `json:"held"`      // here, until now; null: nothing was
	Applied   int         `json:"applied"`   // members in the file of this machine now
	Published int         `json:"published"` // members in the registry
}

func runAcceptName(ctx context.Context, inv *invocation, t *tree) error {
	g, err := t.target(inv.word(0))
	switch {
	case err != nil:
		return t.missing(ctx, inv.word(0), err)
	case g.dir == depDir:
		return hint(wrongUsage("%s is a dependency: what it lost is not accepted but done again", g),
			"to make it again: kingpin dep create "+g.name, "to be rid of a member: kingpin dep rm "+g.name+" NAME")
	case g.dir == registry.Decider.String():
		return wrongUsage("%s is a decider, and those are not held", g)
	case t.direct && inv.bool("here"):
		return wrongUsage("--here is for this machine's monitor, and --direct does without")
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var a acceptance
	request := acceptRequest{For: inv.duration("for").Seconds(), Here: inv.bool("here")}
	if err := t.control.call(ctx, "POST", "/v1/names/"+g.name+"/accept", request, &a); err != nil {
		if errors.Is(err, registry.ErrNotExist) && !a.Here {
			return t.missing(ctx, g.name, nil)
		}
		return err
	}
	a.say(inv, t, request)
	return inv.emit(output{json: a, names: []string{a.Name}})
}

// say what became of it.
func (a acceptance) say(inv *invocation, t *tree, request acceptRequest) {
	where := "every machine that follows it"
	if a.Here {
		where = "this machine"
	}
	switch {
	case request.For == 0:
		inv.say("no longer accepted: %s is guarded again on %s", a.Name, where)
	case t.direct:
		inv.say("accepted until %s: %s shows what the registry does on %s", clock(a.Until), a.Name, where)
	case !a.Followed:
		inv.say("accepted until %s: %s shows what the registry does on %s; this one does not", clock(a.Until), a.Name, where)
	case a.Held == nil:
		inv.say("accepted until %s: %s shows what the registry does on %s; nothing was held here, %s", clock(a.Until), a.Name, where, count(a.Applied, "member"))
	default:
		inv.say("accepted until %s: %s shows what the registry does on %s; here %s, was %d", clock(a.Until), a.Name, where, count(a.Applied, "member"), a.Held.Was)
	}
}

// postAcceptance is for read-only monitors too if it is for this machine alone: then it changes nothing in the fleet.
func (s *server) postAcceptance(r *http.Request) (any, error) {
	var request acceptRequest
	if err := s.decode(r, &request); err != nil {
		return nil, err
	}
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if s.set.readOnly && !request.Here {
		return nil, hint(fmt.Errorf("this monitor is read only: %w", registry.ErrReadOnly), "for this machine alone: --here")
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	if err := s.acceptable(r.Context(), m, name, request.Here); err != nil {
		return nil, err
	}
	before, followed := s.serverset(name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), controlTimeout)
	defer cancel()
	accept := m.Accept
	if request.Here {
		accept = m.AcceptHere
	}
	said, err := accept(ctx, name, time.Duration(request.For*float64(time.Second)), author(r, s.host))
	if err != nil {
		return nil, err
	}
	after, _ := s.serverset(name)
	return acceptance{
		Name: string(name), Until: said.Until, By: said.By, Here: request.Here,
		Followed: followed, Held: before.Held, Applied: after.Applied, Published: after.Published,
	}, nil
}

// acceptable refuses a name for which there is something better to do.
func (s *server) acceptable(ctx context.Context, m *mirror.Mirror, name registry.Name, here bool) error {
	status, followed := m.Status(name)
	if name.Kind() != registry.Serverset {
		return s.insteadOfAccepting(status)
	}
	if followed || here {
		return nil // here knows what is not followed
	}
	names, err := m.Names(ctx)
	if err == nil && !slices.Contains(names, name) {
		err = fmt.Errorf("serverset %s: %w", name, registry.ErrNotExist)
	}
	return err
}

// insteadOfAccepting says what to do about a config: there is nothing to choose from but what was published.
func (s *server) insteadOfAccepting(n mirror.NameStatus) error {
	if n.Condition != mirror.Held {
		return hint(fmt.Errorf("only what a serverset has lost can be accepted, and this is a config that is not held: %w", registry.ErrInvalid),
			"how it is: kingpin status NAME")
	}
	name := string(n.Name)
	hints := map[mirror.HoldReason][]string{
		mirror.Deleted:  {"to make it again: kingpin create " + name, "to be rid of it: kingpin dep rm DEP " + name},
		mirror.Anew:     {"to publish what is here: kingpin put " + name + " " + s.path(fileOf(n.Name))},
		mirror.Checksum: {"what was published is damaged: publish it again, kingpin put " + name + " FILE", "or what was before: kingpin rollback " + name},
		mirror.TooLarge: {"publish a smaller one, or start the monitor with a larger --max-body"},
		mirror.WentBack: {"if the registry was restored: publish what is right, kingpin put " + name + " FILE", "if the ensemble was replaced: kingpin accept --ensemble"},
	}[n.Cause]
	return hint(fmt.Errorf("%s is held (%s); that cannot be accepted: %w", name, n.Reason, registry.ErrInvalid), hints...)
}
