package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/kingpinfs/kingpin/registry"
)

// removed answers DELETE /v1/names/NAME, and is what kingpin rm prints.
type removed struct {
	Name string `json:"name"`
}

func runRm(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	g, err := t.target(inv.word(0))
	switch {
	case err != nil:
		return t.missing(ctx, inv.word(0), err)
	case g.version != "":
		return wrongUsage("rm removes a name; its versions stay: %s@%s", g, g.version)
	case g.dir == depDir:
		return hint(wrongUsage("%s is a dependency", g), "to delete it, once it is empty: kingpin dep delete "+g.name)
	case g.dir == registry.Decider.String():
		return hint(wrongUsage("%s is a decider", g), "to delete it: kingpin decider rm "+g.name)
	}
	if err := inv.confirm("Remove " + g.name + " from the registry, for everybody?"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var done removed
	if err := t.control.call(ctx, "DELETE", "/v1/names/"+g.name, nil, &done); err != nil {
		if errors.Is(err, registry.ErrNotExist) {
			return t.missing(ctx, g.name, nil)
		}
		return err
	}
	inv.say("removed %s; what was published of it stays", done.Name)
	return inv.emit(output{json: done, names: []string{done.Name}})
}

func (s *server) deleteName(r *http.Request) (any, error) {
	m, name, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	return removed{string(name)}, m.Delete(r.Context(), name, author(r, s.host))
}
