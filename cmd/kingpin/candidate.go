package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxCandidates is how many things one is asked to choose from.
const maxCandidates = 8

// whichOne adds to an error about a missing argument what it could be.
func (inv *invocation) whichOne(ctx context.Context, err error) error {
	missing := len(inv.words)
	if missing >= len(inv.command.args) || inv.bool("direct") {
		return err
	}
	found := inv.candidatesFor(ctx, inv.command.args[missing])
	if len(found) == 0 {
		return err
	}
	return hint(err, "which one? "+some(found, maxCandidates))
}

// candidatesFor an argument: the names that this machine has; of dep add those that it could have.
func (inv *invocation) candidatesFor(ctx context.Context, a arg) []string {
	if a.values == nil || inv.flags.Lookup("mount") == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	if a.name == "DEP" || strings.HasPrefix(inv.command.name, "dep ") && len(inv.words) == 1 {
		return inv.edgeCandidates(ctx, a)
	}
	mount := inv.string("mount")
	if _, err := os.Stat(filepath.Join(mount, "config")); err != nil {
		mount = filepath.Join(inv.string("state"), "files")
	}
	return a.values(completing{mount: mount})
}

// edgeCandidates are the dependencies of this machine; behind one of them its members, or for dep add whatever else the registry has.
// Whoever does not answer has none.
func (inv *invocation) edgeCandidates(ctx context.Context, a arg) []string {
	t, err := inv.openTree(ctx)
	if err != nil {
		return nil
	}
	adding := inv.command.name == "dep add" && a.name != "DEP"
	g, err := t.graph(ctx, inv, adding)
	if err != nil || a.name == "DEP" {
		return g.dependencies()
	}
	to := filepath.Base(inv.word(0))
	if !adding {
		return g[to]
	}
	var names []listedName
	if t.control.call(ctx, "GET", "/v1/registry/names", nil, &names) != nil {
		return nil
	}
	return slices.DeleteFunc(append(namesOf(names), g.dependencies()...), func(name string) bool {
		return name == to || slices.Contains(g[to], name)
	})
}
