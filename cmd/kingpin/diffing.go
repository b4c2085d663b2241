package main

import (
	"context"
	"errors"
	"io"

	"github.com/kingpinfs/kingpin/registry"
)

// different is the end of a diff that printed something.
const different = exitStatus(exitFailed)

func runDiff(ctx context.Context, inv *invocation) error {
	err := inv.diff(ctx)
	if err != nil && !errors.Is(err, different) && exitCode(err) == exitFailed {
		return coded{err, exitUsage} // 1 means that they differ
	}
	return err
}

func (inv *invocation) diff(ctx context.Context) error {
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	words := inv.words[1:]
	if g.version != "" {
		words = append([]string{g.version}, words...)
	}
	switch len(words) {
	case 0:
		words = []string{"1", "0"}
	case 1:
		words = append(words, "0")
	case 2:
	default:
		return wrongUsage("diff: two versions, not %d", len(words))
	}
	var versions [2]registry.Version
	var bodies [2][]byte
	for i, word := range words {
		if versions[i], err = t.resolve(ctx, inv, g, word); err != nil {
			return err
		}
		g.version = string(versions[i])
		if bodies[i], err = t.version(ctx, inv, g); err != nil {
			return err
		}
	}
	d := differs{Name: g.name, From: string(versions[0]), To: string(versions[1])}
	d.Diff = unified(g.name+"@"+d.From, g.name+"@"+d.To, bodies[0], bodies[1])
	d.Changed = d.Diff != ""
	var names []string
	if d.Changed {
		names = []string{g.name + "@" + d.From, g.name + "@" + d.To}
	}
	if err := inv.emit(output{json: d, names: names, table: func(w io.Writer) { io.WriteString(w, d.Diff) }}); err != nil {
		return err
	}
	if d.Changed {
		return different
	}
	return nil
}
