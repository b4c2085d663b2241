package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func metaconfigCommand() command {
	return command{
		name: "metaconfig", brief: "what old monitors are told about a name; print or change it", run: runMetaconfig, direct: true,
		args:  []arg{{name: "NAME", values: completeNames}, {name: "FILE|-", optional: true}},
		flags: []option{{name: "spread", value: time.Duration(0), word: "TIME", usage: "have the machines fetch each new version at random moments of so long"}},
		exits: []int{exitDone, exitRefused, exitNoName, exitUnreachable, exitNoRight},
		long: `
The JSON that MetaConfigManager kept: path, type, command and max_wait_in_secs. Monitors of ours go by the name and run no command; of
max_wait_in_secs they take heed. With FILE it is replaced, with --spread only the wait is.`,
	}
}

func runMetaconfig(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	g, err := t.target(inv.word(0))
	if err != nil {
		return t.missing(ctx, inv.word(0), err)
	}
	if g.dir == depDir || g.dir == registry.Decider.String() || g.version != "" {
		return wrongUsage("%s has no metaconfig: configs and serversets have", inv.word(0))
	}
	var content io.Reader
	method, query := "GET", ""
	switch spread := inv.flags.Lookup("spread").Changed; {
	case spread && len(inv.words) > 1:
		return wrongUsage("--spread changes what there is, and FILE replaces it: one of them")
	case spread:
		method, query = "PUT", "?spread="+inv.duration("spread").String()
	case len(inv.words) > 1:
		data, err := inv.readBody(inv.word(1), maxSmall)
		if err != nil {
			return err
		}
		method, content = "PUT", bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	data, err := t.control.send(ctx, method, "/v1/names/"+g.name+"/metaconfig"+query, content)
	if errors.Is(err, registry.ErrNotExist) {
		return t.missing(ctx, g.name, nil)
	}
	if err != nil {
		return err
	}
	if method == "PUT" {
		inv.say("published the metaconfig of %s", g)
	}
	if len(data) == 0 {
		inv.say("nobody has written the metaconfig of %s; monitors of ours need none", g)
		data = []byte("[]")
	}
	var sections json.RawMessage = data
	return inv.emit(output{json: sections, names: []string{g.name}, table: func(w io.Writer) { fmt.Fprintf(w, "%s\n", data) }})
}

func (s *server) getMetaconfig(r *http.Request) (any, error) {
	m, name, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	data, err := m.Metaconfig(r.Context(), name)
	if data == nil {
		data = []byte{}
	}
	return data, err
}

func (s *server) putMetaconfig(r *http.Request) (any, error) {
	m, name, err := s.asked(r)
	if err != nil {
		return nil, err
	}
	if !r.URL.Query().Has("spread") {
		data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxSmall))
		if err != nil {
			return nil, fmt.Errorf("metaconfig of %s: %v: %w", name, err, registry.ErrTooLarge)
		}
		return m.EditMetaconfig(r.Context(), name, author(r, s.host), func(registry.Metaconfig) (registry.Metaconfig, error) {
			return registry.ParseMetaconfig(data)
		})
	}
	spread, err := time.ParseDuration(r.URL.Query().Get("spread"))
	if err != nil || spread < 0 || spread > registry.MaxWait || spread%time.Second != 0 {
		return nil, fmt.Errorf("a spread of %s is not whole seconds up to %v: %w", r.URL.Query().Get("spread"), registry.MaxWait, registry.ErrInvalid)
	}
	return m.EditMetaconfig(r.Context(), name, author(r, s.host), func(sections registry.Metaconfig) (registry.Metaconfig, error) {
		if len(sections) == 0 {
			sections = registry.NewMetaconfig(name)
		}
		for i := range sections {
			sections[i].MaxWait = spread
		}
		return sections, nil
	})
}
