package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// aboutBatch is how many versions are asked about at a time.
const aboutBatch = 16

func runHistory(ctx context.Context, inv *invocation) error {
	most, err := strconv.Atoi(inv.string("number"))
	if err != nil || most < 1 {
		return wrongUsage("-n takes a number of versions, not %q", inv.string("number"))
	}
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	if g.version != "" {
		return wrongUsage("history tells about all versions, not about %s@%s", g, g.version)
	}
	list, err := t.history(ctx, inv, g, most)
	if err != nil {
		return err
	}
	if list.Incomplete != "" {
		inv.say("this is what this machine has; what else was published cannot be listed: %s", list.Incomplete)
	}
	var names []string
	var rows [][]string
	for _, v := range list.Versions {
		names = append(names, g.name+"@"+v.Version)
		rows = append(rows, []string{v.Version, brief(time.Since(v.Published)), v.Author, strconv.FormatInt(v.Size, 10), v.Message})
	}
	return inv.emit(output{json: list.Versions, names: names, table: func(w io.Writer) {
		columns(w, []string{"VERSION", "AGE", "AUTHOR", " SIZE", "MESSAGE"}, rows)
	}})
}

// historic refuses a target that keeps no versions.
func historic(g target) error {
	switch g.dir {
	case registry.Config.String():
		return nil
	case registry.Decider.String():
		return hint(wrongUsage("%s has no versions of its own: all deciders are one config", g),
			"its versions: kingpin history "+string(registry.DeciderName))
	}
	return wrongUsage("%s has no versions: only configs keep them", g)
}

// history is the last versions of a config that were current, the newest first: from the files of the mount, which ask for no right,
// or from the monitor's socket.
func (t *tree) history(ctx context.Context, inv *invocation, g target, most int) (list versionList, err error) {
	if err := historic(g); err != nil {
		return list, err
	}
	if t.direct || !t.served {
		ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
		defer cancel()
		return list, t.control.call(ctx, "GET", "/v1/names/"+g.name+"/versions?most="+strconv.Itoa(most), nil, &list)
	}
	err = await(ctx, t.root, func() (err error) {
		list, err = t.mountedHistory(g, most)
		return err
	})
	return list, err
}

// mountedHistory reads the files of a history: their names, and of those that are wanted what they tell of themselves.
func (t *tree) mountedHistory(g target, most int) (list versionList, err error) {
	dir := filepath.Join(t.root, ".history", g.name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return list, fmt.Errorf("history of %s: %w", g, fromErrno(err))
	}
	var stored []registry.Version
	for _, e := range entries {
		if v, err := registry.ParseVersion(e.Name()); err == nil && e.Type().IsRegular() {
			stored = append(stored, v)
		}
	}
	slices.SortFunc(stored, func(a, b registry.Version) int { return b.Compare(a) })
	current, _ := xattr(g.path(t.root), "version")
	list.Incomplete, _ = xattr(dir, "incomplete")
	list.Versions, err = lineage(stored, registry.Version(current), most, func(v registry.Version) (pastVersion, error) {
		return readPast(filepath.Join(dir, string(v)), v)
	})
	return list, err
}

// readPast is what a file of .history tells of itself. With the network away that is less.
func readPast(path string, v registry.Version) (pastVersion, error) {
	info, err := os.Stat(path)
	if err != nil {
		return pastVersion{}, fmt.Errorf("version %s: %w", v, fromErrno(err))
	}
	p := pastVersion{Version: string(v), Size: info.Size(), Published: info.ModTime()}
	value := func(name string) string {
		text, _ := xattr(path, name)
		return text
	}
	p.Author, p.Message, p.Replaces, p.SHA256 = value("author"), value("message"), value("replaces"), value("sha256")
	if at, err := time.Parse(time.RFC3339Nano, value("published")); err == nil && !at.IsZero() {
		p.Published = at
	}
	p.Published = p.Published.UTC()
	return p, nil
}

// lineage is the versions that were current one after the other, from the current one back, at most so many. A version says which one it
// replaced; what was stored beside and lost the race is left out. One that says nothing has replaced the next one that is stored.
func lineage(stored []registry.Version, current registry.Version, most int, about func(registry.Version) (pastVersion, error)) ([]pastVersion, error) {
	line := []pastVersion{}
	if current == "" {
		return line, nil // never written
	}
	known := map[registry.Version]pastVersion{}
	left := slices.Clone(stored)
	if !slices.Contains(left, current) {
		left = append([]registry.Version{current}, left...)
	}
	for next := current; len(line) < most; {
		i := slices.Index(left, next)
		if len(left) == 0 {
			break
		}
		i = max(i, 0) // it said nothing, or what it replaced is not stored any more
		if _, ok := known[left[i]]; !ok {
			if err := aboutSome(left[i:min(i+min(aboutBatch, most-len(line)), len(left))], known, about); err != nil {
				return nil, err
			}
		}
		p := known[left[i]]
		p.Current = len(line) == 0
		line = append(line, p)
		left, next = left[i+1:], registry.Version(p.Replaces)
	}
	return line, nil
}

// aboutSome asks about some versions at the same time.
func aboutSome(versions []registry.Version, known map[registry.Version]pastVersion, about func(registry.Version) (pastVersion, error)) error {
	all, errs := make([]pastVersion, len(versions)), make([]error, len(versions))
	var asking sync.WaitGroup
	for i, v := range versions {
		asking.Go(func() { all[i], errs[i] = about(v) })
	}
	asking.Wait()
	for i, v := range versions {
		known[v] = all[i]
	}
	return errors.Join(errs...)
}

// version fetches one published version, by its token or by how many versions it is before the current one.
func (t *tree) version(ctx context.Context, inv *invocation, g target) ([]byte, error) {
	v, err := t.resolve(ctx, inv, g, g.version)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	if t.direct || !t.served {
		return t.control.send(ctx, "GET", "/v1/names/"+g.name+"/versions/"+url.PathEscape(string(v)), nil)
	}
	var body []byte
	err = await(ctx, t.root, func() (err error) {
		body, err = os.ReadFile(filepath.Join(t.root, ".history", g.name, string(v)))
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, hint(remote{fmt.Sprintf("there is no %s@%s", g.name, v), registry.ErrNotExist}, "its versions: kingpin history "+g.name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s@%s: %w", g, v, fromErrno(err))
	}
	return body, nil
}

// resolve is the token of a version that may be said as how many versions it is before the current one.
func (t *tree) resolve(ctx context.Context, inv *invocation, g target, word string) (registry.Version, error) {
	if err := historic(g); err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil {
		v, err := registry.ParseVersion(word)
		if err == nil && v == "" {
			err = wrongUsage("which version of %s?", g)
		}
		return v, err
	}
	list, err := t.history(ctx, inv, g, int(n)+1)
	if err != nil {
		return "", err
	}
	if int(n) >= len(list.Versions) {
		why := ""
		if list.Incomplete != "" {
			why = ", and more cannot be listed: " + list.Incomplete
		}
		said := fmt.Sprintf("there is no %s@%s: it has %s%s", g.name, word, count(len(list.Versions), "version"), why)
		return "", hint(remote{said, registry.ErrNotExist}, "its versions: kingpin history "+g.name)
	}
	return registry.Version(list.Versions[n].Version), nil
}
