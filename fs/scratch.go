package fs

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// A scratch file belongs to the user who made it, and only that user sees it.
const (
	// scratchLife is how long a scratch file that nobody has open is kept.
	scratchLife = time.Hour
	// maxScratch bounds how many there are, since they live in memory.
	maxScratch = 1024
	// temporaryDigits is how many digits behind a name make it a temporary one, as os.CreateTemp writes them.
	temporaryDigits = 5
)

// holdsDrafts says whether what is written in a directory can be published.
func holdsDrafts(dir uint64) bool { return dir == configNode || dir == deciderNode }

// identity says whether a file that does not exist yet is a config or a decider to be made by this write. What is neither that nor
// a scratch name is an error: a typo must not become a config of the whole fleet.
func (f *FS) identity(file disk.File, exclusive bool) (bool, error) {
	if file.Kind == registry.Decider {
		return f.newDecider(file, exclusive)
	}
	name := file.Name
	n, err := registry.ParseName(name)
	if err != nil || n.Kind() != registry.Config || f.extendsExisting(name) || jetBrains(name) {
		return false, nil
	}
	if f.o.CreateByWrite && n.ManagedData() {
		return true, nil
	}
	if f.o.CreateByWrite && extendsManaged(n) {
		return false, nil // of a config that is about to be made, by a rename
	}
	var near string
	if nearest := f.nearest(name); nearest != "" {
		near = "; nearest: " + nearest
	}
	return false, fmt.Errorf("no such config%s; to make it: kingpin create %s: %w", near, name, syscall.EPERM)
}

// extendsExisting says whether a name is an existing one and something behind it, as editors and libraries name their temporary
// files: NAME.tmp, NAME~, NAME-12345.
func (f *FS) extendsExisting(name string) bool {
	for i := len(name) - 1; i > 0; i-- {
		rest := name[i:]
		plain := strings.Trim(rest, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") == ""
		digits := len(rest) >= temporaryDigits && strings.Trim(rest, "0123456789") == ""
		if plain && !digits {
			continue
		}
		if _, ok := f.store.Current(disk.File{Kind: registry.Config, Name: name[:i]}); ok {
			return true
		}
	}
	return false
}

// extendsManaged says whether a name is one that a write may create and something behind it.
func extendsManaged(n registry.Name) bool {
	for i := strings.LastIndexByte(string(n), '.'); i > 0; i = strings.LastIndexByte(string(n[:i]), '.') {
		if n[:i].ManagedData() {
			return true
		}
	}
	return false
}

// nearest is the config here whose name is most like the given one.
func (f *FS) nearest(name string) string {
	var names []string
	for _, e := range f.store.List(registry.Config) {
		names = append(names, e.Name)
	}
	nearest, _ := registry.Nearest(name, names)
	return nearest
}

// keepScratch registers a scratch file, and drops those whose time has come. f.mu is held.
func (f *FS) keepScratch(d *draft) {
	var oldest *draft
	for name, old := range f.scratch {
		switch {
		case old.handles > 0:
		case d.created.Sub(old.created) > scratchLife:
			f.dropScratch(name)
		case oldest == nil || old.created.Before(oldest.created):
			oldest = old
		}
	}
	if len(f.scratch) >= maxScratch && oldest != nil {
		f.dropScratch(oldest.file)
	}
	f.scratch[d.file] = d
}

// dropScratch takes the name from a scratch file. Those who have it open may go on with it. f.mu is held.
func (f *FS) dropScratch(file disk.File) {
	d := f.scratch[file]
	if d == nil {
		return
	}
	delete(f.scratch, file)
	d.unlinked.Store(true)
	if d.handles == 0 {
		delete(f.drafts, d.node)
	}
}

// scratchOf is the scratch file of a name in a directory that uid may see, or nil.
func (f *FS) scratchOf(parent uint64, name string, uid uint32) *draft {
	if !holdsDrafts(parent) {
		return nil
	}
	file := disk.File{Kind: kindOfDir(parent), Name: name}
	if f.shadowed(file) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.scratch[file]
	if d == nil || d.caller.uid != uid && uid != 0 {
		return nil
	}
	return d
}

// shadowed says whether a name that may have been a scratch file's is that of a config or a decider, which somebody has created since.
func (f *FS) shadowed(file disk.File) bool {
	_, ok := f.store.Current(file)
	return ok
}

// private says whether a name is a scratch file of somebody's. The kernel would show everybody what it remembers about a name.
func (f *FS) private(parent uint64, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return holdsDrafts(parent) && f.scratch[disk.File{Kind: kindOfDir(parent), Name: name}] != nil
}

func (f *FS) lookupScratch(in *fuse.InHeader, parent uint64, name string, out *fuse.EntryOut) bool {
	d := f.scratchOf(parent, name, in.Uid)
	if d == nil {
		return false
	}
	f.draftEntry(out, d)
	return true
}

func (f *FS) listScratch(parent uint64, uid uint32) []listed {
	if !holdsDrafts(parent) {
		return nil
	}
	var all []listed
	f.mu.Lock()
	defer f.mu.Unlock()
	for file, d := range f.scratch {
		if file.Kind == kindOfDir(parent) && d.caller.uid == uid && !f.shadowed(file) {
			all = append(all, listed{file.Name, d.node, syscall.S_IFREG})
		}
	}
	return all
}
