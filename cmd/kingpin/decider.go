package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// deciderCommands are about the gates from 0 to 100.
func deciderCommands() []command {
	name := arg{name: "NAME", values: completeDeciders}
	message := option{name: "message", short: "m", value: "", word: "TEXT", usage: "why, for those who look at the history"}
	writes := []int{exitDone, exitRefused, exitNoName, exitLostRace, exitUnreachable, exitNoRight, exitUnknown}
	return []command{
		{
			name: "decider ls", brief: "list the deciders with their values", run: runDeciderLs, direct: true,
			args: []arg{{name: "PATTERN", optional: true, values: completeDeciders}}, exits: []int{exitDone, exitNoName, exitUnreachable},
			long: `PATTERN is a part of the name, or a pattern with * ? [].`,
		},
		{
			name: "decider get", brief: "print the value of a decider, or whether it is open for somebody", run: runDeciderGet, direct: true,
			args: []arg{name},
			flags: []option{
				{name: "for", value: "", word: "ID", usage: "for a number, whose bucket is its remainder by 100"},
				{name: "key", value: "", word: "KEY", usage: "for a text, whose bucket depends on the decider too"},
			},
			exits: []int{exitDone, exitFailed, exitNoName, exitUnreachable},
			long: `
With --for or --key it says the bucket, from 0 to 99, and the answer, as every library of KingPin decides: the gate is open if the
bucket is less than the value. It ends with 0 if it is open and with 1 if not.`,
		},
		{
			name: "decider set", brief: "set a decider, from 0 to 100; a new one is made", run: runDeciderSet, direct: true, orders: true,
			args: []arg{name, {name: "0..100"}}, flags: []option{message}, exits: writes,
			long: `It is echo VALUE > MOUNT/decider/NAME. Writers of different deciders never undo each other's changes.`,
		},
		{
			name: "decider rm", brief: "remove a decider: whoever asks for it gets its default", run: runDeciderRm, direct: true, orders: true,
			args: []arg{name}, flags: []option{message}, exits: writes,
		},
	}
}

func completeDeciders(at completing) []string { return entries(at.mount, registry.Decider.String()) }

// gate is a decider as it is printed.
type gate struct {
	Name  string `json:"name"`
	Value int    `json:"value"` // percent
}

// decision is what kingpin decider get prints of somebody.
type decision struct {
	gate
	For    *int64  `json:"for,omitempty"` // one of the two
	Key    *string `json:"key,omitempty"`
	Bucket int     `json:"bucket"`
	Active bool    `json:"active"`
}

func runDeciderLs(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	matches, err := wordMatcher(inv.word(0))
	if err != nil {
		return err
	}
	percents, err := t.deciders(ctx, inv)
	if err != nil {
		return err
	}
	gates, names, rows := []gate{}, []string{}, [][]string{}
	for _, name := range slices.Sorted(maps.Keys(percents)) {
		if !matches(name) {
			continue
		}
		gates = append(gates, gate{name, percents[name]})
		names = append(names, name)
		rows = append(rows, []string{name, strconv.Itoa(percents[name])})
	}
	if err := inv.emit(output{json: gates, names: names, table: func(w io.Writer) { columns(w, []string{"NAME", " VALUE"}, rows) }}); err != nil {
		return err
	}
	return someOf(len(gates), inv.word(0))
}

// deciders are all of them: files of the tree, or the map that holds them.
func (t *tree) deciders(ctx context.Context, inv *invocation) (map[string]int, error) {
	if t.direct {
		body, err := t.published(ctx, inv, allDeciders)
		if errors.Is(err, registry.ErrNotExist) {
			return nil, nil // nobody has made one
		} else if err != nil {
			return nil, err
		}
		return registry.ParseDeciders(body)
	}
	names, err := t.names(registry.Decider.String())
	if err != nil {
		return nil, fmt.Errorf("list the deciders: %w", fromErrno(err))
	}
	percents := make(map[string]int, len(names))
	for _, name := range names {
		content, err := os.ReadFile(decider(name).path(t.root))
		if errors.Is(err, os.ErrNotExist) {
			continue // just removed
		}
		if err == nil {
			percents[name], err = registry.ParseDecider(content)
		}
		if err != nil {
			return nil, fmt.Errorf("decider %s: %w", name, fromErrno(err))
		}
	}
	return percents, nil
}

// allDeciders is the config that holds them.
var allDeciders = target{dir: registry.Config.String(), name: string(registry.DeciderName)}

func decider(name string) target { return target{dir: registry.Decider.String(), name: name} }

func runDeciderGet(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	percents, err := t.deciders(ctx, inv)
	if err != nil {
		return err
	}
	given, err := t.deciderName(inv.word(0))
	if err != nil {
		return err
	}
	percent, ok := percents[strings.ToLower(given)] // as every reader of the old system looks it up
	if !ok {
		return noDecider(given, percents)
	}
	d := decision{gate: gate{strings.ToLower(given), percent}}
	switch byID, byKey := inv.flags.Changed("for"), inv.flags.Changed("key"); {
	case byID && byKey:
		return wrongUsage("decider get: either --for or --key")
	case byID:
		id, err := strconv.ParseInt(inv.string("for"), 10, 64)
		if err != nil {
			return wrongUsage("--for: %q is no number; for a text say --key", inv.string("for"))
		}
		d.For, d.Bucket = &id, registry.IDBucket(id)
	case byKey:
		key := inv.string("key")
		d.Key, d.Bucket = &key, registry.KeyBucket(given, key)
	default:
		return inv.emit(output{json: d.gate, names: []string{d.Name}, table: func(w io.Writer) { fmt.Fprintln(w, percent) }})
	}
	d.Active = d.Bucket < percent
	return d.emit(inv)
}

// emit prints the decision; its answer is the exit code.
func (d decision) emit(inv *invocation) error {
	answer := "closed"
	if d.Active {
		answer = "open"
	}
	err := inv.emit(output{json: d, names: []string{d.Name}, table: func(w io.Writer) {
		facts(w, "decider", d.Name, "value", strconv.Itoa(d.Value), "bucket", strconv.Itoa(d.Bucket), "answer", answer)
	}})
	if err == nil && !d.Active {
		return exitStatus(exitFailed)
	}
	return err
}

func noDecider(name string, percents map[string]int) error {
	err := fmt.Errorf("%w: decider %s", registry.ErrNotExist, name)
	hints := []string{"to make it: kingpin decider set " + name + " 0..100"}
	if near, ok := registry.Nearest(name, slices.Sorted(maps.Keys(percents))); ok {
		hints = append([]string{"nearest: " + near}, hints...)
	}
	return hint(err, hints...)
}

// deciderName is the name of a decider that is given as such, or as a path in the tree.
func (t *tree) deciderName(word string) (string, error) {
	if !strings.Contains(word, "/") {
		return word, nil
	}
	g, err := t.target(word)
	if err == nil && (g.dir != registry.Decider.String() || g.version != "") {
		err = fmt.Errorf("%s is no decider: %w", word, registry.ErrInvalid)
	}
	return g.name, err
}

func runDeciderSet(ctx context.Context, inv *invocation) error {
	percent, err := registry.ParseDecider([]byte(inv.word(1)))
	if err != nil {
		return err
	}
	return inv.changeDecider(ctx, deciderChange{
		file: func(name, path string, p publication) error {
			p.body, p.create = registry.FormatDecider(percent), true
			_, err := p.write(ctx, path)
			return err
		},
		body: func(body []byte, name string) ([]byte, error) { return registry.SetDecider(body, name, percent) },
		done: fmt.Sprintf("is %d", percent),
	})
}

func runDeciderRm(ctx context.Context, inv *invocation) error {
	return inv.changeDecider(ctx, deciderChange{
		file: func(name, path string, _ publication) error { return os.Remove(path) },
		body: registry.RemoveDecider,
		done: "is removed",
	})
}

// deciderChange is a change of one decider, as a gesture on its file and as a change of the map that holds it.
type deciderChange struct {
	file func(name, path string, p publication) error
	body func(body []byte, name string) ([]byte, error)
	done string
}

func (inv *invocation) changeDecider(ctx context.Context, c deciderChange) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	word, err := t.deciderName(inv.word(0))
	if err != nil {
		return err
	}
	name, err := registry.ParseDeciderName(word)
	if err != nil {
		return err
	}
	if err := t.writable(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // an interrupt would leave the caller not knowing
	g := decider(name)
	p := publication{target: g, message: inv.string("message")}
	if t.served {
		if err := c.file(name, g.path(t.root), p); errors.Is(err, os.ErrNotExist) {
			percents, _ := t.deciders(ctx, inv) // for the hint
			return noDecider(name, percents)
		} else if err != nil {
			return t.refused(g, err)
		}
	} else if err := t.changeDeciders(ctx, inv, p, c); err != nil {
		return err
	}
	inv.say("%s %s", name, c.done)
	return inv.emit(output{names: []string{name}, json: changedDecider{name}})
}

// changedDecider is what set and rm print as JSON.
type changedDecider struct {
	Name string `json:"name"`
}

// deciderTries is how often a change is made anew because somebody else was faster.
const deciderTries = 64

// changeDeciders changes the map that holds the deciders, where there is no mount: by compare-and-set, again if somebody else was
// faster, so that no change of another decider is lost.
func (t *tree) changeDeciders(ctx context.Context, inv *invocation, p publication, c deciderChange) error {
	name := p.target.name
	p.target, p.hasBase = allDeciders, true
	for range deciderTries {
		status, err := t.publishedStatus(ctx, inv, allDeciders)
		if errors.Is(err, registry.ErrNotExist) {
			return hint(err, "all deciders are in it; to make it: kingpin create "+allDeciders.name+" --dep "+string(registry.BaseDependency))
		}
		if err != nil {
			return err
		}
		before, err := t.published(ctx, inv, allDeciders)
		if err != nil {
			return err
		}
		if p.body, err = c.body(before, name); err != nil {
			return err
		}
		if bytes.Equal(p.body, before) {
			return nil
		}
		p.base = status.Version
		if _, err := t.send(ctx, inv, p); !errors.Is(err, registry.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("set decider %s: %d others were faster: %w", name, deciderTries, registry.ErrConflict)
}
