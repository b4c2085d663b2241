package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// watchEvery is how often a watch looks without being woken: a mount may go and come, and no event tells of it.
const watchEvery = time.Second

func watchCommand() command {
	return command{
		name: "watch", brief: "print a line, or run a command, on each change", run: runWatch, orders: true,
		args: []arg{{name: "NAME", repeated: true, values: completeNames}}, tail: "[-- CMD...]",
		flags: []option{
			{name: "debounce", value: time.Second, word: "TIME", usage: "changes within this time after the first one are one"},
			{name: "splay", value: time.Duration(0), word: "TIME", usage: "wait a random time up to this one before each CMD, so that not all machines run it at once"},
			{name: "now", value: false, usage: "begin with the versions that are there, instead of the next ones"},
		},
		exits: []int{exitDone, exitUsage},
		long: `
Without CMD it prints a line for each change: name, version, author and message. With CMD it runs it for each change, with
KINGPIN_NAME, KINGPIN_PATH and KINGPIN_VERSION in its environment, and ends with the status of the last one; one that fails is
said and does not end the watch.

    kingpin watch config.manageddata.web.limits -- systemctl reload web
    kingpin watch decider/new_ranker config.manageddata.web.limits --splay 30s -- ./apply.sh

No two commands run at once. What changes while one runs is handled when it has ended: versions in between may be passed over, the
last one never is. A name that does not exist yet is waited for, and so is the monitor: it may be started, restarted and upgraded
at any time. SIGTERM and Ctrl-C end the watch, and a command that runs, with all that it has started.`,
	}
}

// watcher tells of changes of some names.
type watcher struct {
	inv     *invocation
	alarm   *alarm
	tree    *tree // nil: none was found yet
	names   []*watched
	hook    []string // the command; empty: a line is printed
	status  int      // of the command that ran last
	waiting string   // what was said of that which is waited for
}

func runWatch(ctx context.Context, inv *invocation) error {
	w := &watcher{inv: inv}
	words := inv.words
	if dash := inv.flags.ArgsLenAtDash(); dash >= 0 {
		words, w.hook = words[:dash], words[dash:]
		if len(w.hook) == 0 {
			return wrongUsage("watch: what is to be run, after the --?")
		}
	}
	if len(words) == 0 {
		return wrongUsage("watch: NAME is missing")
	}
	if len(w.hook) > 0 {
		if err := w.child(os.Environ()).find(); err != nil {
			return err
		}
	}
	for _, word := range words {
		w.names = append(w.names, &watched{word: word, fresh: inv.bool("now")})
	}
	var err error
	if w.alarm, err = newAlarm(); err != nil {
		return err
	}
	return errors.Join(w.watch(ctx), w.alarm.close())
}

func (w *watcher) child(env []string) child {
	return child{argv: w.hook, env: env, inv: w.inv, stop: w.inv.duration("timeout")}
}

// watch looks whenever it is woken, and tells what is due, until it is told to end.
func (w *watcher) watch(ctx context.Context) error {
	for {
		err := await(ctx, "the mount", func() error { return w.look(ctx) })
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		wait := watchEvery
		for _, n := range w.names {
			if n.due.IsZero() {
				continue
			}
			if left := time.Until(n.due); left > 0 {
				wait = min(wait, left)
			} else if err := w.tell(ctx, n); err != nil {
				return err
			} else {
				wait = 0 // it may have changed meanwhile
			}
			if ctx.Err() != nil {
				break
			}
		}
		select {
		case <-w.alarm.wake:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if w.status != 0 {
		return exitStatus(w.status)
	}
	return nil
}

// look finds out what has changed. It is an error only if it will never succeed.
func (w *watcher) look(ctx context.Context) error {
	if w.tree == nil || w.tree.monitor == nil {
		t, err := w.inv.openTree(ctx)
		if err != nil {
			w.say("waiting: %s", words(err))
			return nil
		}
		w.tree = t
	}
	for _, n := range w.names {
		if n.name == "" {
			g, err := w.tree.target(n.word)
			if err != nil {
				return usageError{err}
			}
			if g.dir == depDir || g.version != "" {
				return wrongUsage("watch: %s is no config, serverset or decider", n.word)
			}
			n.target = g
		}
		// The watch comes before the look: what changes after the look rings.
		if err := w.alarm.watch(filepath.Dir(n.path(w.tree.root))); err != nil && !errors.Is(err, os.ErrNotExist) && ctx.Err() == nil {
			w.say("waiting: %v", err)
		}
		changed := n.look(w.tree)
		if changed && n.due.IsZero() {
			n.due = time.Now().Add(w.inv.duration("debounce") + w.splay())
		}
		if !n.there && !n.missed {
			n.missed = true
			w.say("waiting for %s%s", n.target, w.nearest(n.target))
		}
		n.missed = n.missed && !n.there
	}
	return nil
}

// splay is how much later than others this machine runs the command.
func (w *watcher) splay() time.Duration {
	if most := w.inv.duration("splay"); most > 0 && len(w.hook) > 0 {
		return rand.N(most)
	}
	return 0
}

// say says something once.
func (w *watcher) say(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != w.waiting {
		w.waiting = text
		w.inv.say("%s", text)
	}
}

func (w *watcher) nearest(g target) string {
	if near, ok := registry.Nearest(g.String(), w.tree.every()); ok {
		return "; nearest: " + near
	}
	return ""
}

// tell prints the change of a name, or runs the command for it.
func (w *watcher) tell(ctx context.Context, n *watched) error {
	c := n.tell(ctx, w.tree, w.inv)
	if len(w.hook) == 0 {
		return w.print(c)
	}
	env := slices.Concat(os.Environ(), []string{
		"KINGPIN_NAME=" + c.Name, "KINGPIN_PATH=" + c.Path, "KINGPIN_VERSION=" + c.Version,
	})
	status, err := w.child(env).run(ctx)
	if err != nil {
		return err
	}
	if w.status = status; status != 0 && ctx.Err() == nil {
		w.inv.say("%s ended with %d for %s %s", w.hook[0], status, c.Name, c.Version)
	}
	return nil
}

// print prints a change in one line, in every form of output: whoever reads along reads lines.
func (w *watcher) print(c news) error {
	line := strings.TrimRight(strings.Join([]string{c.Name, c.Version, c.Author, c.Message}, "  "), " ")
	switch w.inv.string("output") {
	case "json":
		e := json.NewEncoder(w.inv.stdout)
		e.SetEscapeHTML(false)
		return e.Encode(c)
	case "name":
		line = c.Name
	}
	_, err := fmt.Fprintln(w.inv.stdout, line)
	return err
}
