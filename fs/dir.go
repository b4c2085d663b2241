package fs

import (
	"slices"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// listed is one line of a directory listing.
type listed struct {
	name string
	node uint64
	mode uint32 // the type bits
}

// OpenDir begins a listing. A snapshot is taken of the directory when it is read from its beginning, so that offsets into it keep their
// meaning while names come and go, and who rewinds it sees what is there by then.
func (f *FS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if isHidden(in.NodeId, pastDirKind) {
		return f.openHistory(cancel, in, out)
	}
	if !f.isDir(in.NodeId) {
		return fuse.Status(syscall.ESTALE)
	}
	if _, ok := depByID(f.store.Graph(), in.NodeId); ok {
		f.noteReader(threadGroup(in.Pid))
	}
	out.Fh = f.open(&handle{node: in.NodeId})
	return fuse.OK
}

// ReleaseDir forgets the snapshot.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.handles, in.Fh)
}

// ReadDir lists names and types.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for _, l := range f.listing(in) {
		if !out.AddDirEntry(fuse.DirEntry{Name: l.name, Ino: l.node, Mode: l.mode}) {
			break
		}
	}
	return fuse.OK
}

// ReadDirPlus lists names with their attributes, as Lookup would answer for each. The kernel holds the directory's lock until it has
// taken them in, so the invalidation of an entry cannot slip in between.
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for _, l := range f.listing(in) {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: l.name, Ino: l.node, Mode: l.mode})
		if entry == nil {
			break
		}
		if l.name == "." || l.name == ".." {
			continue // the kernel knows them; a node id would count as a lookup
		}
		entry.Generation = 1
		if !f.lookup(&in.InHeader, in.NodeId, l.name, entry) {
			*entry = fuse.EntryOut{} // gone since the snapshot: listed, not cached
		}
	}
	return fuse.OK
}

// listing is what is left of a directory's snapshot from the offset on. A server that has died took its snapshots with it: the
// listing is made anew, and goes on at the same place. That of a history was taken when it was opened, since it may ask the network.
func (f *FS) listing(in *fuse.ReadIn) []listed {
	h := f.handle(in.Fh)
	anew := h == nil || in.Offset == 0 && !isHidden(in.NodeId, pastDirKind)
	var all []listed
	if anew {
		all = f.list(in.NodeId, in.Uid)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case h == nil:
	case anew:
		h.listing = all
	default:
		all = h.listing
	}
	return all[min(in.Offset, uint64(len(all))):]
}

func (f *FS) isDir(node uint64) bool {
	if _, ok := fixedDirs[node]; ok {
		return true
	}
	if classify(node) == hiddenClass {
		return f.isHiddenDir(node)
	}
	_, ok := depByID(f.store.Graph(), node)
	return ok
}

// list is everything in a directory that uid may see, in the order of the names. The root hides what begins with a dot, so that
// grep -r and backups stay out of it.
func (f *FS) list(node uint64, uid uint32) []listed {
	var all []listed
	if kind := kindOfDir(node); kind != 0 {
		for _, e := range f.store.List(kind) {
			all = append(all, listed{e.Name, uint64(e.Stamp), syscall.S_IFREG})
		}
		return f.dots(node, append(all, f.listScratch(node, uid)...))
	}
	switch node {
	case rootNode:
		for _, kind := range []registry.Kind{registry.Config, registry.Decider, registry.Serverset} {
			all = append(all, listed{kind.String(), dirOfKind(kind), syscall.S_IFDIR})
		}
		for _, dir := range f.store.Graph().Dirs {
			all = append(all, listed{string(dir.Name), dir.ID, syscall.S_IFDIR})
		}
	case statusNode:
		for name := range f.o.Status {
			all = append(all, listed{name, statusID(name), syscall.S_IFREG})
		}
	case errorNode:
		for id, dir := range fixedDirs {
			if dir.parent == errorNode && f.offers(id) {
				all = append(all, listed{dir.name, id, syscall.S_IFDIR})
			}
		}
	case historyNode, membersNode, registerNode:
		all = append(all, f.listHidden(node)...)
	case errorConfigNode, errorServersetNode, errorDeciderNode, errorDepNode, errorRegisterNode:
		all = append(all, f.listRefusals(fixedDirs[node].name)...)
	default:
		if classify(node) == hiddenClass {
			return f.dots(node, f.listHidden(node))
		}
		if dir, ok := depByID(f.store.Graph(), node); ok {
			for _, l := range dir.Links {
				all = append(all, listed{string(l.Edge), l.ID, syscall.S_IFLNK})
			}
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return f.dots(node, all)
}

// dots puts the directory itself and its parent before what is in it.
func (f *FS) dots(node uint64, all []listed) []listed {
	return append([]listed{{".", node, syscall.S_IFDIR}, {"..", rootNode, syscall.S_IFDIR}}, all...)
}
