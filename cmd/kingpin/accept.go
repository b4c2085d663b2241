package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// accepted is what kingpin accept --ensemble prints.
type accepted struct {
	Frozen bool   `json:"frozen"` // updates were not applied until now
	Source string `json:"source"` // the hosts of the ensemble
}

func runAccept(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	switch {
	case inv.bool("ensemble") && (len(inv.words) > 0 || t.direct):
		return wrongUsage("accept: --ensemble is about ZooKeeper as this machine's monitor sees it, and about no name")
	case len(inv.words) > 0:
		return runAcceptName(ctx, inv, t)
	case !inv.bool("ensemble"):
		return t.whichHeld(ctx, inv)
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var a accepted
	if err := t.control.call(ctx, "POST", "/v1/ensemble/accept", nil, &a); err != nil {
		return err
	}
	if a.Frozen {
		inv.say("accepted: what %s says is applied again", a.Source)
	} else {
		inv.say("nothing to accept: what %s says is applied", a.Source)
	}
	return inv.emit(output{json: a})
}

// whichHeld answers who did not say what is to be believed.
func (t *tree) whichHeld(ctx context.Context, inv *invocation) error {
	err := wrongUsage("accept: say what is to be believed: NAME or --ensemble")
	all, failed := t.serversets(ctx, inv)
	if failed != nil || t.direct {
		return err
	}
	var held []string
	for _, s := range all {
		if s.Held != nil && s.Held.Reason != string(mirror.Damped) {
			held = append(held, s.Name)
		}
	}
	if len(held) == 0 {
		return hint(err, "no serverset is held here")
	}
	return hint(err, "which one? "+some(held, maxCandidates))
}

// postAccept is for read-only monitors too: it changes what this machine believes, and nothing in the fleet.
func (s *server) postAccept(r *http.Request) (any, error) {
	b, _ := s.engine.behind()
	switch _, err := s.engine.get(); {
	case s.set.fleet == nil:
		return nil, fmt.Errorf("the registry is embedded, and no ensemble: %w", registry.ErrInvalid)
	case err != nil:
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), controlTimeout)
	defer cancel()
	a := accepted{Frozen: b.ensemble.Stats().Frozen, Source: s.engine.source()}
	started := time.Now()
	if err := b.ensemble.Accept(ctx); err != nil {
		return nil, err
	}
	if a.Frozen {
		s.log.Warn("ensemble accepted", "author", author(r, s.host), "took", time.Since(started).Round(time.Millisecond))
	}
	return a, followedEnsemble{a.Source, b.ensemble.Ensemble()}.save(s.set.state)
}
