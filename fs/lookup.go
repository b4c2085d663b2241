package fs

import (
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Lookup answers which inode a name stands for: the current version's, or for the thread that is opening it for writing, the
// draft's.
func (f *FS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	parent, thread := in.NodeId, in.Pid
	out.Generation = 1
	if st := f.awaitDeferred(cancel, thread, parent, name); !st.Ok() {
		return st
	}
	if st, ok := f.birthLookup(in, name, out); ok {
		return st
	}
	if d := f.redirected(thread, parent, name); d != nil {
		f.draftEntry(out, d)
		return fuse.OK
	}
	if st, ok := f.deferredLookup(thread, parent, name, out); ok {
		return st
	}
	if f.lookup(in, parent, name, out) {
		return fuse.OK
	}
	if parent == registerNode {
		return f.lookupRegister(cancel, in, name, out)
	}
	if config, ok := f.historyOf(parent); ok {
		return f.lookupPast(cancel, thread, config, name, out)
	}
	// A negative answer that the kernel may keep, but for the poker, names private to somebody, and one that the poker is about to remove: it
	// has to be asked for by him.
	out.NodeId = 0
	if kindOfDir(parent) != 0 && !f.private(parent, name) && !f.acted(place{parent, name}) {
		out.SetEntryTimeout(briefly)
		return fuse.OK
	}
	return fuse.ENOENT
}

// lookup fills the entry of a name; false if there is none.
func (f *FS) lookup(in *fuse.InHeader, parent uint64, name string, out *fuse.EntryOut) bool {
	if kind := kindOfDir(parent); kind != 0 {
		if e, ok := f.store.Current(disk.File{Kind: kind, Name: name}); ok {
			f.versionEntry(out, e)
			return true
		}
		return f.lookupScratch(in, parent, name, out)
	}
	switch parent {
	case rootNode:
		return f.lookupRoot(name, out)
	case pokeNode:
		return f.isPoker(in) && f.lookupPoke(name, out)
	case statusNode:
		return f.lookupNode(statusID(name), out, f.o.Status[name] != nil)
	case errorNode:
		for id, dir := range fixedDirs {
			if dir.parent == errorNode && dir.name == name && f.offers(id) {
				return f.lookupNode(id, out, true)
			}
		}
		return false
	case historyNode, membersNode:
		return f.lookupHidden(in, parent, name, out)
	case errorConfigNode, errorServersetNode, errorDeciderNode, errorDepNode, errorRegisterNode:
		return f.lookupNode(refusalID(fixedDirs[parent].name+"/"+name), out, true)
	}
	if classify(parent) == hiddenClass {
		return f.lookupHidden(in, parent, name, out)
	}
	graph := f.store.Graph()
	dir, ok := depByID(graph, parent)
	if !ok {
		return false
	}
	link, ok := dir.Link(registry.Edge(name))
	if !ok {
		return false
	}
	f.linkEntry(out, link)
	return true
}

func (f *FS) lookupRoot(name string, out *fuse.EntryOut) bool {
	for id, dir := range fixedDirs {
		if dir.parent == rootNode && dir.name == name && id != rootNode && f.offers(id) {
			return f.lookupNode(id, out, true)
		}
	}
	dir, ok := f.store.Graph().Dir(registry.Dependency(name))
	if !ok {
		return false
	}
	f.depEntry(out, dir)
	return true
}

// lookupPoke leads the poker to the inode of an old version, whose watchers it is to wake.
func (f *FS) lookupPoke(name string, out *fuse.EntryOut) bool {
	stamp, err := strconv.ParseUint(name, 10, 64)
	if err != nil || classify(stamp) != versionClass {
		return false
	}
	e, ok := f.store.ByStamp(disk.Stamp(stamp))
	if !ok {
		return false
	}
	f.versionEntry(out, e)
	out.SetEntryTimeout(0)
	if _, exists := f.store.Current(e.File); !exists {
		out.Nlink = 1 // it is about to be unlinked, and at no links its watchers hear that it is deleted
		out.SetAttrTimeout(0)
	}
	return true
}

func (f *FS) lookupNode(node uint64, out *fuse.EntryOut, exists bool) bool {
	if !exists {
		return false
	}
	valid, ok := f.attr(node, &out.Attr)
	if !ok {
		return false
	}
	out.NodeId, out.Generation = node, 1
	out.SetAttrTimeout(valid)
	if _, dir := fixedDirs[node]; dir || node == f.alive {
		out.SetEntryTimeout(forever)
	}
	return true
}

func (f *FS) versionEntry(out *fuse.EntryOut, e disk.Entry) {
	out.NodeId, out.Generation = uint64(e.Stamp), 1
	f.versionAttr(&out.Attr, e)
	out.SetAttrTimeout(forever)
	if f.store.LastAnnounced(e.File) >= e.Stamp { // else it may go before anybody has been told that it came, and nobody is told then
		out.SetEntryTimeout(forever)
	}
}

func (f *FS) draftEntry(out *fuse.EntryOut, d *draft) {
	out.NodeId, out.Generation = d.node, 1
	f.draftAttr(&out.Attr, d)
	out.SetAttrTimeout(0)
	out.SetEntryTimeout(0)
}

// depEntry and linkEntry are asked for again each time: an edit answers when its own thread sees what it did, and to have the kernel
// forget what others saw before would take the lock of a directory in which somebody may be editing.
func (f *FS) depEntry(out *fuse.EntryOut, dir disk.Dir) {
	out.NodeId, out.Generation = dir.ID, 1
	f.dirAttr(&out.Attr, dir.ID, f.dirMode(), dir.Changed)
	out.SetAttrTimeout(briefly)
}

func (f *FS) linkEntry(out *fuse.EntryOut, l disk.Link) {
	out.NodeId, out.Generation = l.ID, 1
	f.linkAttr(&out.Attr, l)
	out.SetAttrTimeout(briefly)
}

// linkTarget is where a member of a dependency points: the config, the serverset or the nested dependency.
func linkTarget(e registry.Edge) string {
	if d, ok := e.Dependency(); ok {
		return "../" + string(d)
	}
	name, _ := e.Name()
	return "../" + name.Kind().String() + "/" + string(name)
}

// Readlink answers where a member of a dependency points.
func (f *FS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	if isHidden(in.NodeId, previousKind) {
		return f.readPrevious(cancel, in)
	}
	l, ok := linkByID(f.store.Graph(), in.NodeId)
	if !ok {
		return nil, fuse.Status(syscall.ESTALE)
	}
	return []byte(linkTarget(l.Edge)), fuse.OK
}

// Forget has nothing to do: who holds an inode is asked of the kernel when it matters, not counted.
func (f *FS) Forget(uint64, uint64) {}

// now is the time that drafts and refusals carry.
func now() time.Time { return time.Now() }
