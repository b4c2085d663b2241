package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// graph is dependencies and their members, names and other dependencies. It may hold cycles.
type graph map[string][]string

// graph of what this machine follows, read from the mount; or of the whole registry.
func (t *tree) graph(ctx context.Context, inv *invocation, whole bool) (graph, error) {
	if t.served && !whole {
		return t.mountedGraph()
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var all []dependencyStatus
	if err := t.control.call(ctx, "GET", "/v1/dependencies", nil, &all); err != nil {
		return nil, err
	}
	g := graph{}
	for _, d := range all {
		if whole || t.direct || d.Followed {
			g[d.Name] = d.Members
		}
	}
	return g, nil
}

func (t *tree) mountedGraph() (graph, error) {
	dirs, err := t.dependencies()
	if err != nil {
		return nil, err
	}
	g := graph{}
	for _, dir := range dirs {
		links, err := os.ReadDir(filepath.Join(t.root, dir))
		if err != nil {
			return nil, fmt.Errorf("dependency %s: %w", dir, fromErrno(err))
		}
		members := []string{}
		for _, link := range links {
			members = append(members, link.Name())
		}
		slices.Sort(members)
		g[dir] = members
	}
	return g.under(t.rootDependencies()), nil
}

// under is the graph without the dependencies that are not reached from those that the machine starts from: they were made here, and
// are shown, and not followed.
func (g graph) under(said []string) graph {
	if len(said) == 0 {
		return g
	}
	reached := graph{}
	for todo := append(slices.Clone(said), string(registry.BaseDependency)); len(todo) > 0; {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if members, ok := g[d]; ok && reached[d] == nil {
			reached[d] = members
			todo = append(todo, members...)
		}
	}
	return reached
}

// dependencies that the mount shows.
func (t *tree) dependencies() ([]string, error) {
	entries, err := os.ReadDir(t.root)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", t.root, fromErrno(err))
	}
	var dirs []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".dep") {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs, nil
}

// follows says whether this machine follows a dependency, as far as the tree shows it.
func (t *tree) follows(dependency string) bool {
	return exists(filepath.Join(t.root, dependency))
}

// graphWith is the graph of this machine if it holds the dependency, else that of the whole registry, which must.
func (t *tree) graphWith(ctx context.Context, inv *invocation, dependency string) (graph, error) {
	g, err := t.graph(ctx, inv, false)
	if err != nil {
		return nil, err
	}
	if _, ok := g[dependency]; ok {
		return g, nil
	}
	if g, err = t.graph(ctx, inv, true); err != nil {
		return nil, err
	}
	if _, ok := g[dependency]; !ok {
		return nil, g.missing(dependency)
	}
	return g, nil
}

func (g graph) missing(dependency string) error {
	err := fmt.Errorf("%w: dependency %s", registry.ErrNotExist, dependency)
	hints := []string{"to make it: kingpin dep create " + dependency}
	if near, ok := registry.Nearest(dependency, g.dependencies()); ok {
		hints = append([]string{"nearest: " + near}, hints...)
	}
	return hint(err, hints...)
}

// names that are reached from some dependencies, sorted.
func (g graph) names(from ...string) []string {
	seen := map[string]bool{}
	names := []string{}
	var visit func(string)
	visit = func(edge string) {
		if seen[edge] {
			return
		}
		seen[edge] = true
		if !strings.HasSuffix(edge, ".dep") {
			names = append(names, edge)
			return
		}
		for _, member := range g[edge] {
			visit(member)
		}
	}
	for _, root := range from {
		visit(root)
	}
	slices.Sort(names)
	return names
}

// without is the graph after some members have left one dependency.
func (g graph) without(dependency string, members []string) graph {
	rest := maps.Clone(g)
	rest[dependency] = slices.DeleteFunc(slices.Clone(g[dependency]), func(m string) bool { return slices.Contains(members, m) })
	return rest
}

// maxPaths bounds how many paths are followed: their number can grow with every dependency that two others share.
const maxPaths = 1000

// paths from any root to a name or a dependency, each without a dependency twice.
func (g graph) paths(roots []string, to string) [][]string {
	var found [][]string
	var visit func(path []string)
	visit = func(path []string) {
		at := path[len(path)-1]
		if at == to {
			found = append(found, slices.Clone(path))
			return
		}
		for _, member := range g[at] {
			if len(found) < maxPaths && !slices.Contains(path, member) {
				visit(append(path, member))
			}
		}
	}
	for _, root := range roots {
		visit([]string{root})
	}
	return found
}

// treeNode is a member of kingpin dep tree -o json.
type treeNode struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Members []treeNode `json:"members"` // of a dependency
	Cycle   bool       `json:"cycle"`   // it stands above itself, so its members are not repeated
}

// tree below a dependency.
func (g graph) tree(root string, above ...string) treeNode {
	node := treeNode{Name: root, Kind: kindOf(registry.Edge(root)), Members: []treeNode{}, Cycle: slices.Contains(above, root)}
	if node.Cycle {
		return node
	}
	for _, member := range g[root] {
		node.Members = append(node.Members, g.tree(member, append(above, root)...))
	}
	return node
}

// holders are the dependencies that hold a name or a dependency themselves, sorted.
func (g graph) holders(edge string) []string {
	return slices.DeleteFunc(g.dependencies(), func(d string) bool { return !slices.Contains(g[d], edge) })
}

// dependencies of the graph, sorted.
func (g graph) dependencies() []string { return slices.Sorted(maps.Keys(g)) }

// roots are those of the dependencies that the monitor starts from which are in the graph; all that nobody else holds, if it did
// not say.
func (g graph) roots(said []string) []string {
	if len(said) > 0 {
		return slices.DeleteFunc(said, func(d string) bool { _, ok := g[d]; return !ok })
	}
	held := map[string]bool{}
	for _, members := range g {
		for _, m := range members {
			held[m] = true
		}
	}
	return slices.DeleteFunc(g.dependencies(), func(d string) bool { return held[d] })
}
