package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// target is what a NAME on the command line means.
type target struct {
	dir     string // config, serverset or decider; dep for a dependency, as in .error/
	name    string
	version string // behind the @, if there was one
}

const depDir = "dep"

// String is the name in full, as output shows it: one that can be given to a verb again.
func (t target) String() string {
	if t.dir == registry.Decider.String() {
		return t.dir + "/" + t.name
	}
	return t.name
}

// path of the target in the tree.
func (t target) path(root string) string {
	if t.dir == depDir {
		return filepath.Join(root, t.name)
	}
	return filepath.Join(root, t.dir, t.name)
}

// place is where words on the command line are looked at from.
type place struct {
	cwd   string
	roots []string // of trees whose paths are names: the mount, the plain files
}

// target says what a word means: a name in full, or a path to a file or link in one of the trees. A word that is neither is
// ErrInvalid.
func (p place) target(word string) (target, error) {
	word, version, versioned := strings.Cut(word, "@")
	if versioned && version == "" {
		return target{}, fmt.Errorf("%s@ names no version: %w", word, registry.ErrInvalid)
	}
	t, err := p.bare(word)
	t.version = version
	return t, err
}

func (p place) bare(word string) (target, error) {
	nested := strings.Contains(word, "/")
	t, err := parseName(word)
	if nested {
		err = fmt.Errorf("%s is not in the mount, %s: %w", word, p.roots[0], registry.ErrInvalid)
	}
	if err == nil {
		return t, nil
	}
	for i, inside := range p.relative(word) {
		t, wrong := parsePath(word, inside)
		if wrong == nil {
			return t, nil
		}
		if nested && i == 0 {
			err = wrong
		}
	}
	return target{}, err
}

// parseName reads a name without a path.
func parseName(word string) (target, error) {
	if strings.HasSuffix(word, ".dep") {
		d, err := registry.ParseDependency(word)
		return target{dir: depDir, name: string(d)}, err
	}
	n, err := registry.ParseName(word)
	if err != nil {
		return target{}, err
	}
	return target{dir: n.Kind().String(), name: string(n)}, nil
}

// parsePath reads a path inside a tree.
func parsePath(word, inside string) (target, error) {
	dir, name, nested := strings.Cut(inside, "/")
	switch {
	case !nested && strings.HasSuffix(dir, ".dep"), nested && strings.HasSuffix(dir, ".dep") && !strings.Contains(name, "/"):
		return parseName(filepath.Base(inside))
	case dir == registry.Decider.String() && nested:
		d, err := registry.ParseDeciderName(name)
		return target{dir: dir, name: d}, err
	case nested && !strings.Contains(name, "/"):
		if t, err := parseName(name); err != nil || t.dir == dir {
			return t, err
		}
	}
	return target{}, fmt.Errorf("%s is no name: names are in config/, serverset/, decider/ and *.dep: %w", word, registry.ErrInvalid)
}

// relative is the path of a word inside one of the trees, in every way in which it may be meant: as a path from here, or from the
// top of the mount. Links on the way to a tree are followed; a link in a tree is a name of its own.
func (p place) relative(word string) []string {
	full := word
	if !filepath.IsAbs(word) {
		full = filepath.Join(p.cwd, word)
	}
	full = filepath.Clean(full)
	places := []string{full}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(full)); err == nil {
		places = append(places, filepath.Join(dir, filepath.Base(full)))
	}
	var found []string
	for _, root := range p.roots {
		tops := []string{filepath.Clean(root)}
		if real, err := filepath.EvalSymlinks(root); err == nil {
			tops = append(tops, real)
		}
		for _, top := range tops {
			for _, f := range places {
				if inside, ok := strings.CutPrefix(f, top+"/"); ok {
					found = append(found, inside)
				}
			}
		}
	}
	if first, _, nested := strings.Cut(word, "/"); nested && (isTreeDir(first) || strings.HasSuffix(first, ".dep")) {
		found = append(found, filepath.Clean(word))
	}
	return found
}

// isTreeDir says whether a directory of the tree is called so.
func isTreeDir(word string) bool {
	return slices.Contains([]string{registry.Config.String(), registry.Serverset.String(), registry.Decider.String()}, word)
}
