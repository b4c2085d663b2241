package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kingpinfs/kingpin/registry"
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
	if !inv.bool("ensemble") {
		return wrongUsage("accept: say what is to be believed: --ensemble")
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
