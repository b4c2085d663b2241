package fs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// .members/NAME tells of the members of a serverset what its lines cannot say. Each content has an inode of its own, whose id is a hash
// of it: so a descriptor shows one content, in the size that stat said, and a server after this one can tell whether it has the same.

// keptContents is how many contents of one serverset are known: one that was looked up and replaced before it was opened is still there.
const keptContents = 4

// memberFiles are the contents that were looked up.
type memberFiles struct {
	mu     sync.Mutex
	byID   map[uint64]memberFile
	byName map[registry.Name][]uint64 // oldest first
}

type memberFile struct {
	content []byte
	since   time.Time
}

func newMemberFiles() *memberFiles {
	return &memberFiles{byID: map[uint64]memberFile{}, byName: map[registry.Name][]uint64{}}
}

// add remembers a content, and when it was first seen.
func (m *memberFiles) add(name registry.Name, id uint64, content []byte) memberFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	if file, ok := m.byID[id]; ok {
		return file
	}
	file := memberFile{content: content, since: time.Now()}
	ids := m.byName[name]
	if len(ids) > 0 && !file.since.After(m.byID[ids[len(ids)-1]].since) {
		file.since = m.byID[ids[len(ids)-1]].since.Add(1)
	}
	if len(ids) == keptContents {
		delete(m.byID, ids[0])
		ids = ids[1:]
	}
	m.byID[id], m.byName[name] = file, append(ids, id)
	return file
}

func (m *memberFiles) get(id uint64) (memberFile, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, ok := m.byID[id]
	return file, ok
}

// membersNow is the present content of a serverset's file.
func (f *FS) membersNow(name string) (id uint64, file memberFile, ok bool) {
	n, err := registry.ParseName(name)
	if err != nil || n.Kind() != registry.Serverset || f.o.Members == nil {
		return 0, memberFile{}, false
	}
	content, ok := f.o.Members(n)
	if !ok {
		return 0, memberFile{}, false
	}
	id = hiddenID(membersKind, name, string(content))
	return id, f.members.add(n, id, content), true
}

// membersOf is the content that a node stands for. One that a server before this one has shown is found if it has not changed.
func (f *FS) membersOf(node uint64) (memberFile, bool) {
	if file, ok := f.members.get(node); ok {
		return file, true
	}
	for _, e := range f.store.List(registry.Serverset) {
		if id, file, ok := f.membersNow(e.Name); ok && id == node {
			return file, true
		}
	}
	return memberFile{}, false
}

func (f *FS) listMembers() []listed {
	var all []listed
	for _, e := range f.store.List(registry.Serverset) {
		all = append(all, listed{e.Name, hiddenID(membersKind, e.Name), syscall.S_IFREG})
	}
	return all
}

func (f *FS) lookupMembers(name string, out *fuse.EntryOut) bool {
	id, _, ok := f.membersNow(name)
	return f.lookupNode(id, out, ok) // no entry timeout: the next content is another inode
}

func (f *FS) membersAttr(a *fuse.Attr, node uint64) bool {
	file, ok := f.membersOf(node)
	fillAttr(a, node, syscall.S_IFREG|0o444, int64(len(file.content)), file.since, f.gid())
	return ok
}

// openMembers pins the content that was looked up.
func (f *FS) openMembers(in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EPERM
	}
	file, ok := f.membersOf(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.Fh = f.open(&handle{node: in.NodeId, content: file.content})
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// readMembers reads for a descriptor that a server before this one opened.
func (f *FS) readMembers(in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	file, ok := f.membersOf(in.NodeId)
	if !ok {
		return nil, fuse.EIO // rather than the rest of another content
	}
	rest := file.content[min(in.Offset, uint64(len(file.content))):]
	return fuse.ReadResultData(buf[:copy(buf, rest)]), fuse.OK
}
