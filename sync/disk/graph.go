package disk

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The ids of directories and links: above the fixed nodes of the mount, below the stamps. They are counted up and never reused,
// not even for the same name: the kernel may still hold an inode that it saw deleted.
const (
	firstID uint64 = 4096
	lastID  uint64 = 1<<32 - 1
)

// Graph is the dependencies that this machine follows. It never changes once it was handed out.
type Graph struct {
	Dirs []Dir // sorted by name
	byID []place
}

// Dir is one dependency.
type Dir struct {
	ID      uint64 // kept while the dependency is followed, and never another's
	Name    registry.Dependency
	Changed time.Time // strictly increasing: when a link came or went
	Links   []Link    // sorted by edge
}

// Link is one member of a dependency.
type Link struct {
	ID      uint64 // kept while the link is there, and never another's
	Edge    registry.Edge
	Changed time.Time // when it came
}

// place is where in a graph an id is.
type place struct {
	id        uint64
	dir, link int // link -1: the directory itself
}

// Dir finds a dependency.
func (g Graph) Dir(name registry.Dependency) (Dir, bool) {
	i, ok := slices.BinarySearchFunc(g.Dirs, name, func(d Dir, name registry.Dependency) int { return cmp.Compare(d.Name, name) })
	if !ok {
		return Dir{}, false
	}
	return g.Dirs[i], true
}

// Link finds a member of a dependency.
func (d Dir) Link(edge registry.Edge) (Link, bool) {
	i, ok := slices.BinarySearchFunc(d.Links, edge, func(l Link, edge registry.Edge) int { return cmp.Compare(l.Edge, edge) })
	if !ok {
		return Link{}, false
	}
	return d.Links[i], true
}

// ByID finds a directory, or a link and the directory that it is in. The link is zero where the id is a directory's.
func (g Graph) ByID(id uint64) (dir Dir, link Link, ok bool) {
	i, ok := slices.BinarySearchFunc(g.byID, id, func(p place, id uint64) int { return cmp.Compare(p.id, id) })
	if !ok {
		return Dir{}, Link{}, false
	}
	p := g.byID[i]
	dir = g.Dirs[p.dir]
	if p.link >= 0 {
		link = dir.Links[p.link]
	}
	return dir, link, true
}

// Reach is the directories that are reached from some of them, sorted by name: what this machine follows, if it follows those.
func (g Graph) Reach(roots ...registry.Dependency) []Dir {
	reached := map[registry.Dependency]Dir{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		dir, ok := g.Dir(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		if _, again := reached[dir.Name]; again || !ok {
			continue
		}
		reached[dir.Name] = dir
		for _, link := range dir.Links {
			if nested, ok := link.Edge.Dependency(); ok {
				todo = append(todo, nested)
			}
		}
	}
	dirs := slices.Collect(maps.Values(reached))
	slices.SortFunc(dirs, func(a, b Dir) int { return cmp.Compare(a.Name, b.Name) })
	return dirs
}

// newGraph sorts the directories and their links and indexes their ids. It takes dirs over.
func newGraph(dirs []Dir) Graph {
	g := Graph{Dirs: dirs}
	slices.SortFunc(g.Dirs, func(a, b Dir) int { return cmp.Compare(a.Name, b.Name) })
	for i, d := range g.Dirs {
		slices.SortFunc(d.Links, func(a, b Link) int { return cmp.Compare(a.Edge, b.Edge) })
		g.byID = append(g.byID, place{d.ID, i, -1})
		for j, l := range d.Links {
			g.byID = append(g.byID, place{l.ID, i, j})
		}
	}
	slices.SortFunc(g.byID, func(a, b place) int { return cmp.Compare(a.id, b.id) })
	return g
}
