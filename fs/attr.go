package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

const (
	// forever is how long the kernel may believe what cannot change: the attributes of a version, and its directory entry until
	// the poker invalidates it.
	forever = 10 * 365 * 24 * time.Hour
	// briefly is how long it may believe what changes without our telling it at once: that a name is absent, and the attributes of the graph.
	briefly = time.Second
)

const blockSize = 4096

func fillAttr(a *fuse.Attr, ino uint64, mode uint32, size int64, mtime time.Time, gid uint32) {
	*a = fuse.Attr{
		Ino:     ino,
		Mode:    mode,
		Size:    uint64(size),
		Blocks:  uint64((size + 511) / 512),
		Nlink:   1,
		Owner:   fuse.Owner{Gid: gid},
		Blksize: blockSize,
	}
	a.SetTimes(&mtime, &mtime, &mtime)
}

// versionAttr are the attributes of one version of a file. It has two links: a local rename over the name takes one away, and
// at none the kernel would end the watches on it.
func (f *FS) versionAttr(a *fuse.Attr, e disk.Entry) {
	fillAttr(a, uint64(e.Stamp), syscall.S_IFREG|f.fileMode(e.Kind), e.Size, time.Unix(0, int64(e.Stamp)), f.gid())
	a.Nlink = 2
}

// draftAttr are the attributes of a draft: those of the version it was made from, st_ino included since editors compare it, but
// the draft's own size; a scratch file belongs to its writer alone.
func (f *FS) draftAttr(a *fuse.Attr, d *draft) {
	size, modified := d.stat()
	if d.scratch {
		fillAttr(a, d.node, syscall.S_IFREG|0o600, size, modified, d.caller.gid)
		a.Owner.Uid = d.caller.uid
		if d.unlinked.Load() {
			a.Nlink = 0
		}
		return
	}
	ino := d.node
	if d.origin.Stamp != 0 {
		ino = uint64(d.origin.Stamp)
	}
	fillAttr(a, ino, syscall.S_IFREG|f.fileMode(d.file.Kind), size, modified, f.gid())
	a.Owner.Uid = d.caller.uid // the kernel lets the owner alone set modes and times: cp -p by a member of the publish group
}

func (f *FS) dirAttr(a *fuse.Attr, node uint64, mode uint32, changed time.Time) {
	fillAttr(a, node, syscall.S_IFDIR|mode, 0, changed, f.gid())
	a.Nlink = 2
}

func (f *FS) linkAttr(a *fuse.Attr, l disk.Link) {
	fillAttr(a, l.ID, syscall.S_IFLNK|0o777, int64(len(linkTarget(l.Edge))), l.Changed, f.gid())
}

func (f *FS) controlAttr(a *fuse.Attr, node uint64, size int) {
	fillAttr(a, node, syscall.S_IFREG|0o444, int64(size), f.started, 0)
}

// fileMode are the permission bits of a file: the publish group may write configs and deciders, if there is one.
func (f *FS) fileMode(k registry.Kind) uint32 {
	switch {
	case f.o.ReadOnly || k == registry.Serverset:
		return 0o444
	case f.o.PublishGroup != 0:
		return 0o664
	}
	return 0o644
}

// dirMode are the permission bits of a directory in which names can be made: config/, decider/ and *.dep.
func (f *FS) dirMode() uint32 {
	switch {
	case f.o.ReadOnly:
		return 0o555
	case f.o.PublishGroup != 0:
		return 0o775
	}
	return 0o755
}

func (f *FS) gid() uint32 { return uint32(f.o.PublishGroup) }

// fixedDirs are the directories that are always there, with whether names can be made in them.
var fixedDirs = map[uint64]struct {
	name     string
	parent   uint64
	writable bool
}{
	rootNode:           {"", rootNode, false},
	configNode:         {"config", rootNode, true},
	serversetNode:      {"serverset", rootNode, false},
	deciderNode:        {"decider", rootNode, true},
	errorNode:          {".error", rootNode, false},
	statusNode:         {".status", rootNode, false},
	pokeNode:           {".poke", rootNode, false},
	errorConfigNode:    {"config", errorNode, false},
	errorServersetNode: {"serverset", errorNode, false},
	errorDeciderNode:   {"decider", errorNode, false},
	errorDepNode:       {"dep", errorNode, false},
	errorRegisterNode:  {"register", errorNode, false},
	historyNode:        {".history", rootNode, false},
	membersNode:        {".members", rootNode, false},
	registerNode:       {".register", rootNode, false},
}

// attr fills the attributes of any node; ok is false for a node that is not there any more.
func (f *FS) attr(node uint64, a *fuse.Attr) (valid time.Duration, ok bool) {
	switch classify(node) {
	case versionClass:
		e, ok := f.store.ByStamp(disk.Stamp(node))
		if !ok {
			return 0, false
		}
		f.versionAttr(a, e)
		return forever, true
	case draftClass:
		if d := f.draft(node); d != nil {
			f.draftAttr(a, d)
			return 0, true
		}
		e, ok := f.orphaned(node)
		f.versionAttr(a, e)
		return 0, ok
	case refusalClass:
		text, ok := f.refusalText(node)
		f.controlAttr(a, node, len(text))
		return 0, ok
	case hiddenClass:
		return f.hiddenAttr(a, node)
	}
	if d, ok := fixedDirs[node]; ok {
		mode := uint32(0o555)
		if d.writable {
			mode = f.dirMode()
		}
		f.dirAttr(a, node, mode, f.started)
		return briefly, true
	}
	if name, ok := f.statusByID[node]; ok {
		f.controlAttr(a, node, len(f.o.Status[name]()))
		if node == f.alive {
			return forever, true // only to open it and to read it tell anything
		}
		return 0, true
	}
	graph := f.store.Graph()
	if dir, ok := depByID(graph, node); ok {
		f.dirAttr(a, node, f.dirMode(), dir.Changed)
		return briefly, true
	}
	if link, ok := linkByID(graph, node); ok {
		f.linkAttr(a, link)
		return briefly, true
	}
	return 0, false
}

// GetAttr answers stat. Versions are asked for once, and then never again.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	valid, ok := f.attr(in.NodeId, &out.Attr)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(valid)
	return fuse.OK
}

// StatFs answers df with the file system that the bodies are on.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.store.Dir(), &s); err != nil {
		return fuse.ToStatus(err)
	}
	out.FromStatfsT(&s)
	return fuse.OK
}
