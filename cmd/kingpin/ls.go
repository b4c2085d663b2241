package main

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

func runLs(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	pattern := inv.word(0)
	if strings.Contains(pattern, "/") || pattern == "." || pattern == ".." {
		insides := t.relative(strings.TrimSuffix(pattern, "/") + "/x") // with something in it, the mount's top is inside too
		if len(insides) == 0 {
			return wrongUsage("%s is not in the mount, %s", pattern, t.root)
		}
		shortest := slices.MinFunc(insides, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
		pattern = strings.TrimSuffix(shortest, "x")
	}
	if strings.HasSuffix(strings.TrimSuffix(pattern, "/"), ".dep") {
		return t.lsMembers(ctx, inv, strings.TrimSuffix(pattern, "/"))
	}
	matches, err := matcher(pattern)
	if err != nil {
		return err
	}
	if inv.bool("long") && !inv.bool("all") && !t.direct {
		return t.lsLong(ctx, inv, matches)
	}
	names, err := t.listed(ctx, inv, pattern)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n listedName) bool { return !matches(n.Name, n.Kind) })
	if err := inv.emit(output{json: names, names: namesOf(names), table: func(w io.Writer) { printListed(w, names, inv.bool("long")) }}); err != nil {
		return err
	}
	if len(names) == 0 && pattern == "" && t.direct {
		inv.say("no name is in that registry; is it the right one, with its /chroot?")
	}
	err = someOf(len(names), pattern)
	if err != nil && !inv.bool("all") && !t.direct {
		err = hint(err, "in the whole registry: kingpin ls --all "+pattern)
	}
	return err
}

// someOf is an error if a pattern matched nothing.
func someOf(found int, pattern string) error {
	if found > 0 || pattern == "" || strings.HasSuffix(pattern, "/") {
		return nil // an empty directory is one
	}
	return remote{fmt.Sprintf("nothing here matches %q", pattern), registry.ErrNotExist}
}

// listed are the names followed here, with their kinds, or all in the registry.
func (t *tree) listed(ctx context.Context, inv *invocation, pattern string) ([]listedName, error) {
	names := []listedName{}
	if inv.bool("all") || t.direct {
		ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
		defer cancel()
		return names, t.control.call(ctx, "GET", "/v1/registry/names", nil, &names)
	}
	dirs := []string{"config", "serverset"}
	if first, _, _ := strings.Cut(pattern, "/"); first == "decider" {
		dirs = []string{"decider"} // a view of one config, so not in the list unless asked for
	}
	for _, dir := range dirs {
		found, err := t.names(dir)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, fromErrno(err))
		}
		for _, name := range found {
			names = append(names, listedName{Name: target{dir: dir, name: name}.String(), Kind: dir, Followed: true})
		}
	}
	return names, nil
}

// matcher says which names a pattern means: a part of the name, a pattern with * ? [], or either of them inside a directory of
// the mount.
func matcher(pattern string) (func(name, kind string) bool, error) {
	dir, rest, nested := strings.Cut(pattern, "/")
	if nested && isTreeDir(dir) {
		inside, err := wordMatcher(strings.TrimSuffix(rest, "/"))
		return func(name, kind string) bool {
			return kind == dir && inside(strings.TrimPrefix(name, kind+"/"))
		}, err
	}
	matches, err := wordMatcher(pattern)
	return func(name, _ string) bool { return matches(name) }, err
}

func wordMatcher(pattern string) (func(name string) bool, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return func(name string) bool { return strings.Contains(name, pattern) }, nil
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, wrongUsage("pattern %s: %v", pattern, err)
	}
	return func(name string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	}, nil
}

func namesOf(list []listedName) []string {
	names := make([]string, 0, len(list))
	for _, n := range list {
		names = append(names, n.Name)
	}
	return names
}

func printListed(w io.Writer, names []listedName, long bool) {
	if !long {
		for _, n := range names {
			fmt.Fprintln(w, n.Name)
		}
		return
	}
	var rows [][]string
	for _, n := range names {
		followed := "no"
		if n.Followed {
			followed = "yes"
		}
		rows = append(rows, []string{n.Name, n.Kind, followed})
	}
	columns(w, []string{"NAME", "KIND", "FOLLOWED"}, rows)
}

// lsLong prints what the monitor knows of each name followed here.
func (t *tree) lsLong(ctx context.Context, inv *invocation, matches func(name, kind string) bool) error {
	all, err := t.followed(ctx, inv)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(n nameStatus) bool { return !matches(n.Name, n.Kind) })
	names := make([]string, 0, len(all))
	rows := make([][]string, 0, len(all))
	for _, n := range all {
		names = append(names, n.Name)
		rows = append(rows, []string{n.Name, n.Kind, n.State, n.Version, n.age(), n.Author, strconv.FormatInt(n.Size, 10)})
	}
	if err := inv.emit(output{json: all, names: names, table: func(w io.Writer) {
		columns(w, []string{"NAME", "KIND", "STATE", "VERSION", "AGE", "AUTHOR", " SIZE"}, rows)
	}}); err != nil {
		return err
	}
	return someOf(len(all), inv.word(0))
}
