package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The states of a name: those of the mirror, and unknown where no monitor could be asked or it has not heard of the registry.
const (
	statePending = "pending"
	stateCurrent = "current"
	stateStale   = "stale"
	stateHeld    = "held"
	stateMissing = "missing"
	stateUnknown = "unknown"
)

func runStat(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	stats := []nameStatus{}
	names := []string{}
	for _, word := range inv.words {
		g, err := t.named(ctx, inv, word)
		if err != nil {
			return err
		}
		if g.version != "" {
			return wrongUsage("stat tells about the current version, not about %s@%s", g, g.version)
		}
		n, err := t.stat(ctx, inv, g)
		if err != nil {
			return err
		}
		stats, names = append(stats, n), append(names, n.Name)
	}
	var one any = stats
	if len(stats) == 1 {
		one = stats[0]
	}
	return inv.emit(output{json: one, names: names, table: func(w io.Writer) {
		for i, n := range stats {
			if i > 0 {
				fmt.Fprintln(w)
			}
			n.print(w)
		}
	}})
}

// stat is what the file's attributes and the monitor say of a name; of a plain file with nobody to ask, what the file itself tells.
func (t *tree) stat(ctx context.Context, inv *invocation, g target) (nameStatus, error) {
	if t.direct {
		return t.publishedStatus(ctx, inv, g)
	}
	all, err := t.followed(ctx, inv)
	if err != nil && !errors.Is(err, registry.ErrUnreachable) {
		return nameStatus{}, err
	}
	holder := g.String()
	if g.dir == registry.Decider.String() {
		holder = string(registry.DeciderName) // all deciders live in one config
	}
	i := slices.IndexFunc(all, func(n nameStatus) bool { return n.Name == holder })
	if i >= 0 && holder == g.String() {
		all[i].Path = g.path(t.root)
		return all[i], nil
	}
	n := nameStatus{Name: g.String(), Kind: g.dir, State: stateUnknown, Reason: "no monitor to ask", Path: g.path(t.root)}
	if err == nil {
		n.State, n.Reason = stateMissing, "the monitor does not follow it yet"
	}
	if i >= 0 {
		n.State, n.Reason = all[i].State, all[i].Reason
	}
	return n, n.readFile()
}

// readFile fills in what the file tells about itself.
func (n *nameStatus) readFile() error {
	info, err := os.Stat(n.Path)
	if err != nil {
		return fmt.Errorf("stat %s: %w", n.Name, fromErrno(err))
	}
	n.Size = info.Size()
	n.Age = seconds(max(0, time.Since(info.ModTime()))) // the clock may have been set back
	n.Dependencies = []string{}
	value := func(name string) string {
		v, _ := xattr(n.Path, name) // what a file does not tell stays empty
		return v
	}
	n.Version, n.Author, n.Message, n.SHA256 = value("version"), value("author"), value("message"), value("sha256")
	n.Dependencies = append(n.Dependencies, strings.Fields(value("dependencies"))...)
	if at, err := time.Parse(time.RFC3339Nano, value("published")); err == nil {
		n.Published = at
	}
	if n.SHA256 != "" {
		return nil
	}
	body, err := os.ReadFile(n.Path)
	if err != nil {
		return fmt.Errorf("stat %s: %w", n.Name, fromErrno(err))
	}
	n.SHA256 = fmt.Sprintf("%x", sha256.Sum256(body))
	return nil
}

// followed are all names that this machine follows, as the monitor sees them: through the mount, which asks for no right, else
// through the socket.
func (t *tree) followed(ctx context.Context, inv *invocation) ([]nameStatus, error) {
	var all []nameStatus
	if t.monitor == nil {
		return nil, fmt.Errorf("no monitor to ask: %w", registry.ErrUnreachable)
	}
	if data, err := os.ReadFile(filepath.Join(t.root, ".status", "names.json")); t.served && err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, fmt.Errorf("%s/.status/names.json: %w", t.root, err)
		}
		return all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	return all, t.control.call(ctx, "GET", "/v1/names", nil, &all)
}

func (n nameStatus) age() string {
	if n.State == stateMissing || n.Version == "" && n.Age == 0 {
		return "-"
	}
	return brief(time.Duration(n.Age * float64(time.Second)))
}

func (n nameStatus) print(w io.Writer) {
	version := n.Version
	if version == "" && n.Kind == registry.Config.String() && n.State != stateUnknown {
		version = "none: never written"
	}
	state := n.State
	if n.Reason != "" {
		state += ": " + n.Reason
	}
	publishedAt := ""
	if !n.Published.IsZero() {
		publishedAt = n.Published.UTC().Format(time.RFC3339)
	}
	facts(w,
		"name", n.Name,
		"kind", n.Kind,
		"state", state,
		"version", version,
		"age", n.age(),
		"published", publishedAt,
		"author", n.Author,
		"message", n.Message,
		"size", strconv.FormatInt(n.Size, 10),
		"sha256", n.SHA256,
		"dependencies", strings.Join(n.Dependencies, " "),
		"path", n.Path,
	)
}
