package main

import (
	"cmp"
	"context"
	"fmt"
)

func runRollback(ctx context.Context, inv *invocation) error {
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	if g.version != "" && inv.word(1) != "" {
		return wrongUsage("rollback: %s@%s or %s?", g, g.version, inv.word(1))
	}
	if err := t.writable(); err != nil {
		return err
	}
	current, err := t.resolve(ctx, inv, g, "0")
	if err != nil {
		return err
	}
	g.version = cmp.Or(inv.word(1), g.version, "1")
	old, err := t.resolve(ctx, inv, g, g.version)
	if err != nil {
		return err
	}
	g.version = string(old)
	body, err := t.version(ctx, inv, g)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s was not rolled back: %w", g, errInterrupted)
	}
	message := cmp.Or(inv.string("message"), "rolled back to "+string(old))
	g.version = ""
	done, err := t.publish(context.WithoutCancel(ctx), inv, publication{
		target: g, body: body, message: message, base: string(current), hasBase: true, force: inv.bool("force"),
	})
	if err != nil {
		return err
	}
	r := rolledBack{published: done, From: string(current), To: string(old)}
	if done.Changed {
		inv.say("rolled back %s to %s, as %s", done.Name, old, done.Version)
	} else {
		inv.say("unchanged: %s holds these bytes, as %s", done.Name, done.Version)
	}
	return inv.emit(output{json: r, names: []string{done.Name + "@" + done.Version}})
}
