package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

func runDepLs(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	if len(inv.words) > 0 {
		return t.lsMembers(ctx, inv, inv.word(0))
	}
	g, err := t.graph(ctx, inv, inv.bool("all"))
	if err != nil {
		return err
	}
	here := g
	if inv.bool("all") {
		if here, err = t.graph(ctx, inv, false); err != nil {
			return err
		}
	}
	if t.direct {
		here = nil // whatever this machine follows, it is not asked
	}
	list := []dependencyStatus{}
	names := []string{}
	rows := [][]string{}
	for _, name := range g.dependencies() {
		_, followed := here[name]
		list = append(list, dependencyStatus{Name: name, Members: g[name], Followed: followed})
		names = append(names, name)
		yes := "no"
		if followed {
			yes = "yes"
		}
		rows = append(rows, []string{name, strconv.Itoa(len(g[name])), yes})
	}
	return inv.emit(output{json: list, names: names, table: func(w io.Writer) {
		columns(w, []string{"DEPENDENCY", " MEMBERS", "FOLLOWED"}, rows)
	}})
}

// member is an element of kingpin dep ls DEP -o json.
type member struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // config, serverset or dependency
}

func (t *tree) lsMembers(ctx context.Context, inv *invocation, word string) error {
	d, err := t.dependency(word)
	if err != nil {
		return err
	}
	g, err := t.graphWith(ctx, inv, d)
	if err != nil {
		return err
	}
	members := []member{}
	for _, m := range g[d] {
		members = append(members, member{m, kindOf(registry.Edge(m))})
	}
	return inv.emit(output{json: members, names: g[d], table: func(w io.Writer) {
		for _, m := range members {
			fmt.Fprintln(w, m.Name)
		}
	}})
}

func runDepTree(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	var roots []string
	var g graph
	if len(inv.words) > 0 {
		d, err := t.dependency(inv.word(0))
		if err != nil {
			return err
		}
		if g, err = t.graphWith(ctx, inv, d); err != nil {
			return err
		}
		roots = []string{d}
	} else {
		if g, err = t.graph(ctx, inv, false); err != nil {
			return err
		}
		roots = g.roots(t.rootDependencies())
	}
	trees := []treeNode{}
	for _, root := range roots {
		trees = append(trees, g.tree(root))
	}
	return inv.emit(output{json: trees, names: g.names(roots...), table: func(w io.Writer) {
		for _, node := range trees {
			node.print(w, 0)
		}
	}})
}

func (n treeNode) print(w io.Writer, depth int) {
	note := ""
	if n.Cycle {
		note = "  (a cycle: see above)"
	}
	fmt.Fprintf(w, "%s%s%s\n", strings.Repeat("  ", depth), n.Name, note)
	for _, m := range n.Members {
		m.print(w, depth+1)
	}
}

// dependencyPath is an element of kingpin dep why -o json.
type dependencyPath struct {
	Path []string `json:"path"` // from a root dependency of this machine to the name
}

func runDepWhy(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	g, err := t.graph(ctx, inv, false)
	if err != nil {
		return err
	}
	to, err := t.target(inv.word(0))
	if err != nil {
		return t.missing(ctx, inv.word(0), err)
	}
	if to.dir == registry.Decider.String() {
		to.name = string(registry.DeciderName) // all deciders live in one config
	}
	found := g.paths(g.roots(t.rootDependencies()), to.name)
	switch {
	case len(found) == 0 && to.dir == depDir:
		return t.unheld(ctx, inv, to.name)
	case len(found) == 0 && to.name == string(registry.DeciderName):
		inv.say("%s is in no dependency; every machine follows it", to.name)
	case len(found) == 0:
		return t.missing(ctx, to.name, nil)
	}
	paths, holders := []dependencyPath{}, []string{}
	for _, p := range found {
		paths = append(paths, dependencyPath{p})
		if holder := p[max(0, len(p)-2)]; !slices.Contains(holders, holder) {
			holders = append(holders, holder)
		}
	}
	return inv.emit(output{json: paths, names: holders, table: func(w io.Writer) {
		for _, p := range found {
			fmt.Fprintln(w, strings.Join(p, " > "))
		}
	}})
}

// unheld is why a dependency is not one of this machine's.
func (t *tree) unheld(ctx context.Context, inv *invocation, dependency string) error {
	g, err := t.graph(ctx, inv, true)
	if err != nil {
		return err
	}
	if _, ok := g[dependency]; !ok {
		return g.missing(dependency)
	}
	return t.notHere(dependency, g.holders(dependency))
}

func runDepAdd(ctx context.Context, inv *invocation) error {
	t, d, members, err := inv.openEdited(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var now dependencyStatus
	if err := t.control.call(ctx, "POST", "/v1/dependencies/"+d+"/members", memberRequest{members}, &now); err != nil {
		return err
	}
	t.settle(ctx, now, members, true)
	inv.say("%s holds %s", d, strings.Join(members, ", "))
	return inv.emit(output{json: now, names: now.Members})
}

// openEdited finds the tree, and what DEP NAME... of dep add and dep rm mean.
func (inv *invocation) openEdited(ctx context.Context) (t *tree, dependency string, members []string, err error) {
	if t, err = inv.openTree(ctx); err != nil {
		return nil, "", nil, err
	}
	if dependency, err = t.dependency(inv.word(0)); err != nil {
		return nil, "", nil, err
	}
	for _, word := range inv.words[1:] {
		g, err := t.target(word)
		if err != nil {
			return nil, "", nil, err
		}
		if g.version != "" || g.dir == registry.Decider.String() {
			return nil, "", nil, wrongUsage("%s cannot be a member of a dependency: configs, serversets and dependencies can", word)
		}
		if !slices.Contains(members, g.name) {
			members = append(members, g.name)
		}
	}
	return t, dependency, members, nil
}

// maxLost is how many names are listed before they are lost.
const maxLost = 5

func runDepRm(ctx context.Context, inv *invocation) error {
	t, d, members, err := inv.openEdited(ctx)
	if err != nil {
		return err
	}
	g, err := t.graph(ctx, inv, true)
	if err != nil {
		return err
	}
	if _, ok := g[d]; !ok {
		return g.missing(d)
	}
	for _, m := range members {
		if !slices.Contains(g[d], m) {
			return notMember(d, m, g[d])
		}
	}
	after := g.without(d, members).names(d)
	lost := slices.DeleteFunc(g.names(d), func(n string) bool { return slices.Contains(after, n) })
	if len(lost) > 0 {
		inv.say("every machine that has %s loses %s, unless it has them otherwise: %s", d, count(len(lost), "name"), some(lost, maxLost))
	} else {
		inv.say("no machine that has %s loses a name", d)
	}
	if d == string(registry.BaseDependency) && !inv.bool("yes") {
		return hint(fmt.Errorf("%s is every machine's: %w", d, errGuard), "if you mean it: --yes")
	}
	if err := inv.confirm("Go on?"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var now dependencyStatus
	if err := t.control.call(ctx, "DELETE", "/v1/dependencies/"+d+"/members", memberRequest{members}, &now); err != nil {
		return err
	}
	t.settle(ctx, now, members, false)
	return inv.emit(output{json: now, names: now.Members})
}

// notMember is the error of who would leave a dependency in which it is not.
func notMember(dependency, name string, members []string) error {
	err := fmt.Errorf("%w: %s is not in %s", registry.ErrNotExist, name, dependency)
	if near, ok := registry.Nearest(name, members); ok {
		return hint(err, "nearest: "+near)
	}
	return hint(err, "its members: kingpin dep ls "+dependency)
}

// settle waits until the mount shows that members have come or gone.
func (t *tree) settle(ctx context.Context, d dependencyStatus, members []string, there bool) {
	if !t.served || !d.Followed {
		return
	}
	settles(ctx, func() bool {
		for _, m := range members {
			nested := there && strings.HasSuffix(m, ".dep")
			if exists(filepath.Join(t.root, d.Name, m)) != there || nested && !t.follows(m) {
				return false
			}
		}
		return true
	})
}
