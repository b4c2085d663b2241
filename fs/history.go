package fs

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// .history/NAME/VERSION is a version that was published some time. What is not on this machine is asked of the network, by requests that
// wait for nobody else and for which nobody else waits: a LOOKUP holds the lock of its directory, which is that of one config's
// history, and shares it with other lookups; a listing is made when its directory is opened, which holds no lock; a body is
// fetched when its file is opened. The kernel may keep all of it, since a version never changes.

// previousName is the symbolic link to the version before the current one.
const previousName = "previous"

// previousSize is how long its target is said to be: as long as our versions are. To know it would mean to ask.
const previousSize = 20

const (
	// maxPasts is how many old versions are known by their node ids, and maxLists how many listings.
	maxPasts = 8192
	maxLists = 64
	// listingLife is how long a listing is good enough for the next one who opens the directory.
	listingLife = time.Second
	// maxAsking is how many requests may ask the network for history at a time.
	maxAsking = 16
	// maxHistory bounds the bodies that are kept of what was fetched, in bytes.
	maxHistoryBytes = 256 << 20
)

// histories is what is known of .history.
type histories struct {
	cache  *disk.Cache
	asking chan struct{} // a token for each request that asks the network

	mu       sync.Mutex
	dirs     map[uint64]registry.Name // by node id
	pasts    map[uint64]pastFile      // by node id
	lists    map[registry.Name]pastList
	previous map[registry.Name]succession
}

// pastFile is a version of a config as a file.
type pastFile struct {
	Name registry.Name
	Past
	asked bool // there is nothing more to know
}

func (p pastFile) node() uint64 { return hiddenID(pastKind, string(p.Name), string(p.Version)) }

// published is its mtime. The token tells the same time in a listing and for a version that is here.
func (p pastFile) published() time.Time {
	if at, ok := p.Version.Time(); ok {
		return at
	}
	return p.Published
}

// knows says whether p would lose by becoming other.
func (p pastFile) knows(other pastFile) bool {
	return p.asked && !other.asked || p.SHA256 != (registry.Checksum{}) && other.SHA256 == (registry.Checksum{})
}

// pastList is a listing, and why it is not complete.
type pastList struct {
	versions []Past
	current  registry.Version // what was current then
	made     time.Time
	err      error
}

// succession says what came before the version that is current.
type succession struct{ current, before registry.Version }

func newHistories(dir string) *histories {
	return &histories{
		cache:    disk.NewCache(dir, maxHistoryBytes),
		asking:   make(chan struct{}, maxAsking),
		dirs:     map[uint64]registry.Name{},
		pasts:    map[uint64]pastFile{},
		lists:    map[registry.Name]pastList{},
		previous: map[registry.Name]succession{},
	}
}

// network takes a turn at asking the network.
func (h *histories) network(ctx context.Context, question func() error) error {
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
		return question()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// makeRoom forgets something for one more thing to be remembered.
func makeRoom[K comparable, V any](m map[K]V, most int) {
	for other := range m {
		if len(m) < most {
			return
		}
		delete(m, other)
	}
}

// keep remembers what a node is. Others make room for it: they are found again when they are looked up.
func (h *histories) keep(files ...pastFile) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range files {
		makeRoom(h.pasts, maxPasts)
		if old, ok := h.pasts[p.node()]; ok && old.knows(p) {
			continue
		}
		h.pasts[p.node()] = p
	}
}

// remember notes which config's history a directory is.
func (h *histories) remember(node uint64, name registry.Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirs[node] = name
}

// historyOf is the config whose history a directory is.
func (f *FS) historyOf(node uint64) (registry.Name, bool) {
	if !isHidden(node, pastDirKind) || f.o.History == nil {
		return "", false
	}
	f.history.mu.Lock()
	name, ok := f.history.dirs[node]
	f.history.mu.Unlock()
	if ok {
		_, ok = f.store.Current(disk.File{Kind: registry.Config, Name: string(name)})
		return name, ok
	}
	for _, e := range f.store.List(registry.Config) { // of a server that died
		if hiddenID(pastDirKind, e.Name) == node {
			name = registry.Name(e.Name)
			f.history.remember(node, name)
			return name, true
		}
	}
	return "", false
}

// pastOf finds what is known of a version's file without asking anybody.
func (f *FS) pastOf(node uint64) (pastFile, bool) {
	f.history.mu.Lock()
	p, ok := f.history.pasts[node]
	f.history.mu.Unlock()
	if ok {
		return p, true
	}
	if p, ok := f.history.cached(node); ok {
		f.history.keep(p)
		return p, true
	}
	for _, e := range f.store.List(registry.Config) {
		for _, p := range f.pastsHere(registry.Name(e.Name)) {
			if p.node() == node {
				return p, true
			}
		}
	}
	return pastFile{}, false
}

// pastsHere are the versions of a config that this machine has itself, the newest first.
func (f *FS) pastsHere(name registry.Name) []pastFile {
	var all []pastFile
	for _, e := range f.store.VersionsOf(disk.File{Kind: registry.Config, Name: string(name)}) {
		all = append(all, pastFile{Name: name, Past: Past{
			Version: e.Version, Published: e.Published, Author: e.Author, Message: e.Message, Size: e.Size, SHA256: e.SHA256,
		}})
	}
	return all
}

// lookupPastHere fills the entry of a name in the history of a config from what is known here.
func (f *FS) lookupPastHere(config registry.Name, name string, out *fuse.EntryOut) bool {
	if name == previousName {
		return len(f.knownPasts(config)) > 1 && f.lookupNode(hiddenID(previousKind, string(config)), out, true)
	}
	node := hiddenID(pastKind, string(config), name)
	f.history.mu.Lock()
	p, ok := f.history.pasts[node]
	f.history.mu.Unlock()
	if !ok {
		for _, here := range f.pastsHere(config) {
			if here.node() == node {
				p, ok = here, true
			}
		}
	}
	if !ok {
		p, ok = f.history.cached(node)
	}
	if !ok {
		return false
	}
	f.history.keep(p)
	f.pastEntry(out, p)
	return true
}

// lookupPast is lookupPastHere, and then asks the network.
func (f *FS) lookupPast(cancel <-chan struct{}, thread uint32, config registry.Name, name string, out *fuse.EntryOut) fuse.Status {
	if name == previousName {
		list, err := f.listPasts(cancel, thread, config)
		if len(list) > 1 {
			f.lookupNode(hiddenID(previousKind, string(config)), out, true)
			return fuse.OK
		}
		if err != nil {
			return asked(err)
		}
		return fuse.ENOENT
	}
	version, err := registry.ParseVersion(name)
	if err != nil || version == "" {
		return fuse.ENOENT
	}
	var p pastFile
	err = f.ask(cancel, thread, func(ctx context.Context) error {
		return f.history.network(ctx, func() (err error) {
			p.Name = config
			p.Past, err = f.o.About(ctx, config, version)
			return err
		})
	})
	if err != nil {
		return asked(err)
	}
	p.asked = true
	f.history.keep(p)
	f.pastEntry(out, p)
	return fuse.OK
}

func (f *FS) pastEntry(out *fuse.EntryOut, p pastFile) {
	out.NodeId, out.Generation = p.node(), 1
	f.pastAttr(&out.Attr, p)
	out.SetAttrTimeout(forever)
	out.SetEntryTimeout(forever)
}

func (f *FS) pastAttr(a *fuse.Attr, p pastFile) {
	fillAttr(a, p.node(), syscall.S_IFREG|0o444, p.Size, p.published(), f.gid())
}

// knownPasts is the last listing of a config's history, or what is here of it.
func (f *FS) knownPasts(config registry.Name) []Past {
	f.history.mu.Lock()
	list, ok := f.history.lists[config]
	f.history.mu.Unlock()
	if ok && list.err == nil {
		return list.versions
	}
	var all []Past
	for _, p := range f.pastsHere(config) {
		all = append(all, p.Past)
	}
	return all
}

// listPasts lists the history of a config. With the network away it is what is here, and the error that says so.
func (f *FS) listPasts(cancel <-chan struct{}, thread uint32, config registry.Name) ([]Past, error) {
	f.history.mu.Lock()
	list, ok := f.history.lists[config]
	f.history.mu.Unlock()
	current, _ := f.store.Current(disk.File{Kind: registry.Config, Name: string(config)})
	if ok && time.Since(list.made) < listingLife && list.current == current.Version {
		return list.versions, list.err
	}
	var versions []Past
	err := f.ask(cancel, thread, func(ctx context.Context) error {
		return f.history.network(ctx, func() (err error) {
			versions, err = f.o.History(ctx, config)
			return err
		})
	})
	if errors.Is(err, errLeft) || errors.Is(err, errKilled) {
		return nil, err
	}
	if err != nil {
		f.log.Warn("history is not complete", "name", config, "err", err)
		versions = nil
		for _, p := range f.pastsHere(config) {
			versions = append(versions, p.Past)
		}
	}
	f.history.list(config, pastList{versions, current.Version, time.Now(), err})
	for _, p := range versions {
		f.history.keep(pastFile{Name: config, Past: p})
	}
	return versions, err
}

func (h *histories) list(config registry.Name, list pastList) {
	h.mu.Lock()
	defer h.mu.Unlock()
	makeRoom(h.lists, maxLists)
	h.lists[config] = list
}

// listHistory is what a history's directory holds.
func (f *FS) listHistory(config registry.Name, versions []Past) []listed {
	var all []listed
	if len(versions) > 1 {
		all = append(all, listed{previousName, hiddenID(previousKind, string(config)), syscall.S_IFLNK})
	}
	for _, p := range versions {
		all = append(all, listed{string(p.Version), pastFile{Name: config, Past: p}.node(), syscall.S_IFREG})
	}
	return all
}

// openHistory takes the listing of a history's directory when that is opened.
func (f *FS) openHistory(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	config, ok := f.historyOf(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	versions, err := f.listPasts(cancel, in.Pid, config)
	if err != nil && len(versions) == 0 {
		return asked(err)
	}
	out.Fh = f.open(&handle{node: in.NodeId, listing: f.dots(in.NodeId, f.listHistory(config, versions))})
	return fuse.OK
}

// incomplete is why the last listing of a history was not whole.
func (f *FS) incomplete(node uint64, dest []byte) (uint32, fuse.Status) {
	config, _ := f.historyOf(node)
	f.history.mu.Lock()
	list := f.history.lists[config]
	f.history.mu.Unlock()
	if list.err == nil {
		return 0, fuse.ENODATA
	}
	return fill(dest, []byte(list.err.Error()))
}

// readPrevious answers where the link to the version before the current one leads.
func (f *FS) readPrevious(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	var config registry.Name
	for _, e := range f.store.List(registry.Config) {
		if hiddenID(previousKind, e.Name) == in.NodeId {
			config = registry.Name(e.Name)
		}
	}
	current, ok := f.store.Current(disk.File{Kind: registry.Config, Name: string(config)})
	if !ok || current.Version == "" {
		return nil, fuse.Status(syscall.ESTALE)
	}
	f.history.mu.Lock()
	known := f.history.previous[config]
	f.history.mu.Unlock()
	if known.current == current.Version {
		return []byte(known.before), fuse.OK
	}
	var before registry.Version
	err := f.ask(cancel, in.Pid, func(ctx context.Context) error {
		return f.history.network(ctx, func() (err error) {
			before, err = f.o.Previous(ctx, config, current.Version)
			return err
		})
	})
	if err != nil {
		return nil, asked(err)
	}
	f.history.mu.Lock()
	defer f.history.mu.Unlock()
	f.history.previous[config] = succession{current.Version, before}
	return []byte(before), fuse.OK
}
