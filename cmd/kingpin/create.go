package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

func runCreate(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	g, err := t.creatable(inv)
	if err != nil {
		return err
	}
	if err := t.writable(); err != nil {
		return err
	}
	request := createRequest{Name: g.name, Dependencies: inv.strings("dep")}
	if len(inv.words) > 1 {
		if request.Body, err = inv.readBody(inv.word(1), t.monitor.MaxBody); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var c created
	if err := t.control.call(ctx, "POST", "/v1/names", request, &c); err != nil {
		return err
	}
	deps := strings.Join(c.Dependencies, ", ")
	switch {
	case t.direct:
		inv.say("created %s in %s", c.Name, deps)
	case !c.Followed:
		inv.say("created %s in %s, which this machine does not follow", c.Name, deps)
	case settles(ctx, func() bool { return exists(g.path(t.root)) }):
		inv.say("created %s in %s: %s", c.Name, deps, g.path(t.root))
	default:
		inv.say("created %s in %s; it has not arrived here yet", c.Name, deps)
	}
	return inv.emit(output{json: c, names: []string{c.Name}})
}

// creatable checks that the word names something that create makes.
func (t *tree) creatable(inv *invocation) (target, error) {
	g, err := t.target(inv.word(0))
	switch {
	case err != nil:
		return target{}, err
	case g.version != "":
		return target{}, wrongUsage("create makes a name, not a version: %s@%s", g, g.version)
	case g.dir == depDir:
		return target{}, hint(wrongUsage("%s is a dependency", g), "to make it: kingpin dep create "+g.name)
	case g.dir == registry.Decider.String():
		return target{}, wrongUsage("%s is a decider; create makes configs and serversets", g)
	case g.dir == registry.Serverset.String() && len(inv.words) > 1:
		return target{}, wrongUsage("%s is a serverset: its content is who registers, not a file", g)
	}
	return g, nil
}

func runDepCreate(ctx context.Context, inv *invocation) error {
	return inv.changeDependency(ctx, "PUT", func(d dependencyStatus) string {
		if len(d.Members) > 0 {
			return fmt.Sprintf("created %s again, with what this machine had kept of it: %s", d.Name, some(d.Members, maxCandidates))
		}
		return fmt.Sprintf("created %s, empty; fill it: kingpin dep add %[1]s NAME", d.Name)
	})
}

func runDepDelete(ctx context.Context, inv *invocation) error {
	return inv.changeDependency(ctx, "DELETE", func(d dependencyStatus) string { return "deleted " + d.Name })
}

func (inv *invocation) changeDependency(ctx context.Context, method string, said func(dependencyStatus) string) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	d, err := t.dependency(inv.word(0))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var now dependencyStatus
	if err := t.control.call(ctx, method, "/v1/dependencies/"+d, nil, &now); err != nil {
		return err
	}
	inv.say("%s", said(now))
	return inv.emit(output{json: now, names: []string{d}})
}

// dependency reads a word that must name a dependency.
func (t *tree) dependency(word string) (string, error) {
	g, err := t.target(word)
	switch {
	case err == nil && g.dir == depDir:
		return g.name, nil
	case err == nil || !strings.Contains(word, "/") && !strings.HasSuffix(word, ".dep"):
		return "", wrongUsage("%s is not a dependency: those end in .dep", word)
	}
	return "", err
}

// confirm asks a person; with nobody to ask, or --yes, the answer is yes.
func (inv *invocation) confirm(question string) error {
	if inv.bool("yes") || !terminal(inv.stdin) {
		return nil
	}
	fmt.Fprint(inv.stderr, question+" [y/N] ")
	answer := make([]byte, 64)
	n, err := inv.stdin.Read(answer)
	if err != nil && err != io.EOF {
		return err
	}
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(answer[:n]))), "y") {
		return nil
	}
	return fmt.Errorf("nothing was changed")
}
