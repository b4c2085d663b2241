package disk

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/kingpinfs/kingpin/registry"
)

// index is what the journal says, in memory. It does no I/O and knows no lock.
type index struct {
	files    map[File]*file
	versions map[Stamp]*version
	removed  map[File]removal
	damaged  map[File]struct{}
	news     map[File]*file // current versions that the watchers have not heard of
	aged     map[File]*file // with more old versions than are kept anyway
	keep     int
	sorted   [registry.Decider + 1][]*version // current versions by name; nil where a name came or went since
	graph    Graph
	told     Graph // the graph that the watchers have heard of
	last     Stamp // the largest ever allotted
	id       uint64
}

// file is what is known of one name. It outlives its removal for as long as an old version is kept.
type file struct {
	current *version // nil: removed
	old     []*version
	told    Stamp // watchers have heard of the file up to here; 0: never
}

// removal is one that the watchers have not heard of.
type removal struct {
	stamp Stamp
	told  Stamp // they have heard of the file up to here; 0: never, so they need not hear of its end
}

// version is one body.
type version struct {
	entry    Entry
	lost     bool         // current, but its body is gone
	verified atomic.Int64 // mtime of the body when its bytes were written or seen to be right, in nanoseconds; 0: not since the store was opened
}

func newIndex(keep int) *index {
	return &index{
		keep:     max(keep, 0),
		files:    map[File]*file{},
		versions: map[Stamp]*version{},
		removed:  map[File]removal{},
		damaged:  map[File]struct{}{},
		news:     map[File]*file{},
		aged:     map[File]*file{},
		id:       firstID,
	}
}

// current version of a file, or nil.
func (x *index) current(f File) *version {
	if known, ok := x.files[f]; ok {
		return known.current
	}
	return nil
}

// list is the current versions of one kind, by name. It keeps the list for the next caller.
func (x *index) list(kind registry.Kind) []*version {
	if x.sorted[kind] == nil {
		versions := []*version{}
		for f, known := range x.files {
			if f.Kind == kind && known.current != nil {
				versions = append(versions, known.current)
			}
		}
		slices.SortFunc(versions, func(a, b *version) int { return cmp.Compare(a.entry.Name, b.entry.Name) })
		x.sorted[kind] = versions
	}
	return x.sorted[kind]
}

// damagedFiles sorted.
func (x *index) damagedFiles() []File { return slices.SortedFunc(maps.Keys(x.damaged), compareFiles) }

// relist puts a new current version into the sorted list, in the place of the one before it.
func (x *index) relist(v *version) {
	list := x.sorted[v.entry.Kind]
	i, ok := slices.BinarySearchFunc(list, v.entry.Name, func(v *version, name string) int {
		return cmp.Compare(v.entry.Name, name)
	})
	if !ok {
		x.sorted[v.entry.Kind] = nil
		return
	}
	list[i] = v
}

func (x *index) saw(stamp Stamp) { x.last = max(x.last, stamp) }

func (o put) apply(x *index) {
	e := o.entry
	x.saw(e.Stamp)
	known := x.files[e.File]
	if known == nil {
		known = &file{}
		x.files[e.File] = known
	}
	switch before := known.current; {
	case before == nil:
		known.told = x.removed[e.File].told // to them it never went
		delete(x.removed, e.File)
	case before.lost:
		delete(x.versions, before.entry.Stamp)
	default:
		known.old = append(known.old, before)
	}
	v := &version{entry: e}
	if o.data != nil {
		v.verified.Store(int64(e.Stamp)) // the file was just written by this process, from these bytes
	}
	known.current = v
	x.versions[e.Stamp] = v
	x.news[e.File] = known
	x.relist(v)
	x.age(e.File, known)
	if o.restored {
		x.damaged[e.File] = struct{}{}
	} else {
		delete(x.damaged, e.File)
	}
}

func (o retitle) apply(x *index) {
	v := x.current(o.file)
	if v == nil {
		return
	}
	v.entry.Version, v.entry.Order = o.version, o.order
	v.entry.Author, v.entry.Message, v.entry.Published = o.author, o.message, o.published
	delete(x.damaged, o.file)
}

func (o remove) apply(x *index) {
	x.saw(o.stamp)
	heard := o.told
	if known := x.files[o.file]; known != nil && known.current != nil {
		if known.current.lost {
			delete(x.versions, known.current.entry.Stamp)
		} else {
			known.old = append(known.old, known.current)
		}
		heard = max(heard, known.told)
		known.current, known.told = nil, 0
		x.sorted[o.file.Kind] = nil
		delete(x.damaged, o.file)
		delete(x.news, o.file)
		x.age(o.file, known)
	}
	x.removed[o.file] = removal{o.stamp, heard}
}

func (o drop) apply(x *index) {
	v := x.versions[o.stamp]
	if v == nil {
		return
	}
	known := x.files[v.entry.File]
	if known.current == v {
		return
	}
	delete(x.versions, o.stamp)
	known.old = slices.DeleteFunc(known.old, func(old *version) bool { return old == v })
	x.age(v.entry.File, known)
}

// age notes whether a file has old versions that need not be kept, and forgets one of which nothing is left.
func (x *index) age(f File, known *file) {
	if len(known.expired(x.keep)) > 0 {
		x.aged[f] = known
	} else {
		delete(x.aged, f)
	}
	if known.current == nil && len(known.old) == 0 {
		delete(x.files, f)
	}
}

// expired is the old versions beyond those that are kept anyway; of a removed file, all.
func (known *file) expired(keep int) []*version {
	if known.current == nil {
		return known.old
	}
	return known.old[:max(0, len(known.old)-keep)]
}

func (o told) apply(x *index) {
	if removed, ok := x.removed[o.file]; ok && removed.stamp <= o.stamp {
		delete(x.removed, o.file)
	} else if ok { // it is recorded after a removal that it came before
		x.removed[o.file] = removal{removed.stamp, max(removed.told, o.stamp)}
	}
	if known := x.files[o.file]; known != nil && known.current != nil {
		known.told = max(known.told, o.stamp)
		if known.told >= known.current.entry.Stamp {
			delete(x.news, o.file)
		}
	}
}

func (o damage) apply(x *index) {
	if v := x.current(o.file); v != nil {
		v.lost = true
		x.damaged[o.file] = struct{}{}
	}
}

func (o mark) apply(x *index) {
	x.saw(o.stamp)
	x.id = max(x.id, o.id)
}

func (o complete) apply(x *index) {}
