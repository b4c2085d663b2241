package fs

import (
	"hash/fnv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// hiddenBit marks the ids of what is in .history, .members and .register: a hash of what it is, so that every server agrees on it. Three
// bits behind it say what kind of thing it is.
const (
	hiddenBit  = 1 << 63
	hiddenKind = 60 // from the right
)

// The kinds of hidden things. They are part of the contract with a kernel that outlives this process: never renumber them.
const (
	pastDirKind     uint64 = iota // .history/NAME
	pastKind                      // .history/NAME/VERSION
	previousKind                  // .history/NAME/previous
	membersKind                   // .members/NAME, with one content
	registerDirKind               // .register/NAME
	holdKind                      // one open file of .register/NAME/ENDPOINT
)

// hiddenID is the id of a hidden thing: a hash of what tells it from others of its kind.
func hiddenID(kind uint64, parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return hiddenBit | kind<<hiddenKind | h.Sum64()>>(64-hiddenKind)
}

// isHidden says whether a node is a hidden thing of a kind.
func isHidden(node, kind uint64) bool {
	return node&hiddenBit != 0 && kindOfHidden(node) == kind
}

// kindOfHidden is the kind of a hidden node.
func kindOfHidden(node uint64) uint64 { return node >> hiddenKind & 7 }

// offers says whether a fixed directory is there: some show what this file system may not have been given.
func (f *FS) offers(dir uint64) bool {
	switch dir {
	case historyNode:
		return f.o.History != nil
	case membersNode:
		return f.o.Members != nil
	case registerNode, errorRegisterNode:
		return f.o.Register != nil
	}
	return true
}

// isHiddenDir says whether a hidden node is a directory.
func (f *FS) isHiddenDir(node uint64) bool {
	_, history := f.historyOf(node)
	_, register := f.registerOf(node)
	return history || register
}

// listHidden is what a hidden directory holds, as far as that is known here.
func (f *FS) listHidden(node uint64) []listed {
	var all []listed
	switch {
	case node == historyNode:
		for _, e := range f.store.List(registry.Config) {
			all = append(all, listed{e.Name, hiddenID(pastDirKind, e.Name), syscall.S_IFDIR})
		}
	case node == membersNode:
		all = f.listMembers()
	case node == registerNode, isHidden(node, registerDirKind):
		all = f.listRegister(node)
	case isHidden(node, pastDirKind):
		if config, ok := f.historyOf(node); ok {
			all = f.listHistory(config, f.knownPasts(config))
		}
	}
	return all
}

// lookupHidden fills the entry of a name in a hidden directory from what is known here; false if it is not.
func (f *FS) lookupHidden(in *fuse.InHeader, parent uint64, name string, out *fuse.EntryOut) bool {
	switch {
	case parent == historyNode:
		_, ok := f.store.Current(disk.File{Kind: registry.Config, Name: name})
		node := hiddenID(pastDirKind, name)
		if ok {
			f.history.remember(node, registry.Name(name))
		}
		out.SetEntryTimeout(briefly)
		return f.lookupNode(node, out, ok)
	case parent == membersNode:
		return f.lookupMembers(name, out)
	case isHidden(parent, pastDirKind):
		config, ok := f.historyOf(parent)
		return ok && f.lookupPastHere(config, name, out)
	case isHidden(parent, registerDirKind):
		dir, ok := f.registerOf(parent)
		return ok && f.lookupHold(in, dir, name, out)
	}
	return false
}

// hiddenAttr fills the attributes of a hidden thing.
func (f *FS) hiddenAttr(a *fuse.Attr, node uint64) (valid time.Duration, ok bool) {
	switch kindOfHidden(node) {
	case pastDirKind:
		_, ok := f.historyOf(node)
		f.dirAttr(a, node, 0o555, f.started)
		return briefly, ok
	case pastKind:
		p, ok := f.pastOf(node)
		f.pastAttr(a, p)
		a.Ino = node
		return forever, ok
	case previousKind:
		fillAttr(a, node, syscall.S_IFLNK|0o777, previousSize, f.started, f.gid())
		return briefly, f.o.History != nil
	case membersKind:
		return forever, f.membersAttr(a, node)
	case registerDirKind:
		_, ok := f.registerOf(node)
		f.dirAttr(a, node, f.dirMode(), f.started)
		return briefly, ok
	case holdKind:
		h, ok := f.holds.get(node)
		if !ok {
			fillAttr(a, node, syscall.S_IFREG|f.fileMode(registry.Config), 0, now(), f.gid())
			return 0, f.holds.pending(node)
		}
		fillAttr(a, node, syscall.S_IFREG|f.fileMode(registry.Config), int64(len(f.holds.content(h))), h.created, f.gid())
		return 0, true
	}
	return 0, false
}

// openHidden opens a hidden file.
func (f *FS) openHidden(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	switch kindOfHidden(in.NodeId) {
	case pastKind:
		return f.openPast(cancel, in, out)
	case membersKind:
		return f.openMembers(in, out)
	case holdKind:
		return f.openHold(in, out)
	}
	return fuse.Status(syscall.ESTALE)
}

// readHidden reads from a hidden file that this server has not opened itself, or holds nothing for.
func (f *FS) readHidden(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	switch kindOfHidden(in.NodeId) {
	case pastKind:
		return f.readPast(cancel, in, buf)
	case membersKind:
		return f.readMembers(in, buf)
	}
	return nil, fuse.EIO
}

// releaseHidden ends a descriptor of a hidden file.
func (f *FS) releaseHidden(in *fuse.ReleaseIn) {
	switch kindOfHidden(in.NodeId) {
	case pastKind:
		f.history.cache.Release(in.NodeId)
	case holdKind:
		f.releaseHold(in)
	}
}
