package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// serversetMember is an element of MOUNT/.members/SERVERSET and of kingpin members -o json: a line of the serverset's file.
type serversetMember struct {
	Endpoint string            `json:"endpoint"`
	Weight   int               `json:"weight"` // 0: unsaid
	Labels   map[string]string `json:"labels"`
	Since    time.Time         `json:"since,omitzero"` // when it joined
	State    string            `json:"state"`          // serving; held: the registry has it no more; unknown: the registry was not heard since the start
	Gone     time.Time         `json:"gone,omitzero"`  // since when it is held
}

func runMembers(ctx context.Context, inv *invocation) error {
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	if g.dir != registry.Serverset.String() || g.version != "" {
		return wrongUsage("%s is no serverset, and only those have members", inv.word(0))
	}
	list, err := t.membersOf(ctx, inv, g)
	if err != nil {
		return err
	}
	endpoints := make([]string, 0, len(list))
	for _, m := range list {
		endpoints = append(endpoints, m.Endpoint)
	}
	if err := inv.emit(output{json: list, names: endpoints, table: func(w io.Writer) { printMembers(w, list) }}); err != nil {
		return err
	}
	return t.sayHeld(ctx, inv, g)
}

// membersOf a serverset, from the mount, from the monitor, or from the registry; with none of them what the file tells.
func (t *tree) membersOf(ctx context.Context, inv *invocation, g target) ([]serversetMember, error) {
	data, err := os.ReadFile(filepath.Join(t.root, ".members", g.name))
	if !t.served || err != nil {
		ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
		defer cancel()
		data, err = t.control.send(ctx, "GET", "/v1/names/"+g.name+"/members", nil)
	}
	if errors.Is(err, registry.ErrUnreachable) && !t.direct {
		return t.endpointsOf(g)
	}
	if err != nil {
		return nil, err
	}
	list := []serversetMember{}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("members of %s: %w", g, err)
	}
	return list, nil
}

func (t *tree) endpointsOf(g target) ([]serversetMember, error) {
	data, err := os.ReadFile(g.path(t.root))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g, fromErrno(err))
	}
	list := []serversetMember{}
	for endpoint := range strings.FieldsSeq(string(data)) {
		list = append(list, serversetMember{Endpoint: endpoint, Labels: map[string]string{}, State: "unknown"})
	}
	return list, nil
}

func printMembers(w io.Writer, list []serversetMember) {
	var rows [][]string
	for _, m := range list {
		weight, since, state := "-", "-", m.State
		if m.Weight > 0 {
			weight = strconv.Itoa(m.Weight)
		}
		if !m.Since.IsZero() {
			since = brief(time.Since(m.Since))
		}
		if !m.Gone.IsZero() {
			state += " for " + brief(time.Since(m.Gone))
		}
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
			labels = append(labels, key+"="+m.Labels[key])
		}
		rows = append(rows, []string{m.Endpoint, weight, since, state, strings.Join(labels, " ")})
	}
	columns(w, []string{"ENDPOINT", " WEIGHT", "SINCE", "STATE", "LABELS"}, rows)
}

// sayHeld says why members are held, and what to type.
func (t *tree) sayHeld(ctx context.Context, inv *invocation, g target) error {
	if t.direct || t.monitor == nil {
		return nil
	}
	all, err := t.serversets(ctx, inv)
	if err != nil {
		return err
	}
	for _, s := range all {
		switch {
		case s.Name != g.name:
		case s.Held != nil:
			inv.say("held: %s", s.Held.words(s.Name))
		case s.Accepted != nil:
			inv.say("accepted by %s until %s", s.Accepted.By, clock(s.Accepted.Until))
		}
	}
	return nil
}

// words say what is held, and what to do if it is right.
func (h holdStatus) words(name string) string {
	switch h.Reason {
	case "damped":
		return fmt.Sprintf("%d left %s ago, and leave the file %s", h.Was-h.Now, brief(time.Since(h.Since)), in(h.Until))
	case "shrunk":
		return fmt.Sprintf("shrunk to %d, was %d; believed %s, or now: kingpin accept %s", h.Now, h.Was, in(h.Until), name)
	case "deleted":
		return fmt.Sprintf("deleted from the registry, was %d; make it again: kingpin create %s; if it is right: kingpin accept %s", h.Was, name, name)
	}
	return fmt.Sprintf("%s, was %d; if it is right: kingpin accept %s", h.Reason, h.Was, name)
}

// in is when something that is to come comes.
func in(t time.Time) string {
	if left := time.Until(t); left > 0 {
		return "in " + brief(left)
	}
	return "now"
}

// clock is a moment of today as people say it.
func clock(t time.Time) string { return t.Local().Format("15:04:05") }
