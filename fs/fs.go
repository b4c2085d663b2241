package fs

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// DefaultMaxBody is the size up to which a config may be published, in bytes.
const DefaultMaxBody = 16 << 20

// aliveFile of .status is read through the mount to see whether the server answers at all.
const aliveFile = "alive"

// publishTimeout bounds a publication. FLUSH is sent uninterruptibly, so a caller could not even be killed without it.
const publishTimeout = 10 * time.Second

// Publication is what a writer asks to make the new version of a config.
type Publication struct {
	Name          registry.Name
	Body          []byte
	Base          registry.Version // the version that Body was made from
	CompareAndSet bool             // refuse with ErrConflict unless Base is still current
	Create        bool             // the name does not exist and this write may create it
	Author        string           // user@host
	Message       string           // why, if the writer said so
	Force         bool             // the writer insists on emptying or shrinking
	Origin        uint64           // handed back in disk.Entry.Origin

	// One decider: Name is registry.DeciderName, which holds them all, Base and the entry that comes back are of the decider's own file,
	// and Body is what was written there.
	Decider string
	Percent int
	Remove  bool
}

// EditKind is what an Edit does.
type EditKind uint8

const (
	Subscribe        EditKind = iota + 1 // add the edge to the dependency
	Unsubscribe                          // remove the edge from the dependency
	MakeDependency                       // make an empty dependency, and show it
	DeleteDependency                     // delete an empty dependency
)

// Edit is a change of the dependency graph, asked for by a gesture in the root or in a directory x.dep.
type Edit struct {
	Kind       EditKind
	Dependency registry.Dependency
	Edge       registry.Edge // of Subscribe and Unsubscribe
}

// Options say what the tree allows. The zero value serves it read-write to root, with nothing to publish to: every
// write is refused.
type Options struct {
	Publish       func(context.Context, Publication) (disk.Entry, error)       // nil: writes are refused with EROFS
	Edit          func(context.Context, Edit) error                            // nil: edits are refused with EROFS
	Await         func(context.Context, Edit)                                  // until what was subscribed to is here, or cannot be had now; nil: nobody waits for that
	Register      func(registry.Name, registry.Endpoint) (Registration, error) // never waits for anybody; nil: there is no .register
	Members       func(registry.Name) ([]byte, bool)                           // JSON of .members/NAME, from memory; nil: there is no .members
	Writable      func() error                                                 // why a write would fail now; nil: it would not
	Check         func(context.Context, registry.Name, []byte) error           // why a body would be refused for what is in it; nil: none is
	Quota         func(disk.File) error                                        // why another version of a file is refused now; nil: none is
	Reach         func() error                                                 // the same as Writable, of who has asked and may wait for the answer; nil: Writable
	Status        map[string]func() []byte                                     // the files of .status by name
	PublishGroup  int                                                          // gid whose members may publish; 0: only root
	ReadOnly      bool                                                         // no w bits, and EROFS to root too
	CreateByWrite bool                                                         // writing a well-formed name that does not exist creates it
	MaxBody       int64                                                        // bytes; 0: DefaultMaxBody
	Renames       map[registry.Kind]bool                                       // the directories where a version is announced by IN_MOVED_TO instead of IN_CLOSE_WRITE
	Host          string                                                       // after the @ of authors; "": the host's name
	Logger        *slog.Logger                                                 // nil: slog.Default()

	// Knows says why a serverset that this machine does not follow is none: ErrNotExist. Any other error, or none, lets a program
	// register in it. It may ask the network. nil: any may be one.
	Knows func(context.Context, registry.Name) error

	// What .history shows; if History is nil there is none. All four may ask the network, and end with their context.
	History  func(context.Context, registry.Name) ([]Past, error)                             // newest first, with an error those that are here
	About    func(context.Context, registry.Name, registry.Version) (Past, error)             // one version without its bytes
	Version  func(context.Context, registry.Name, registry.Version) (Past, []byte, error)     // and with them
	Previous func(context.Context, registry.Name, registry.Version) (registry.Version, error) // what was current before

	// Observe is told of every request that was answered, and Announced of every version whose events were raised. They must not
	// block. nil: nobody is told.
	Observe   func(opcode uint32, took time.Duration)
	Announced func(disk.Entry)
}

// FS is the file system. Make one with New and run it with Serve.
type FS struct {
	fuse.RawFileSystem // what we do not implement answers ENOSYS

	store  *disk.Store
	o      Options
	log    *slog.Logger
	bodies *bodies
	names  *callers

	mount       string // where the tree is mounted, for the poker
	poker       *keeper.Poker
	incarnation uint64
	started     time.Time

	serial    atomic.Uint64 // counts drafts and handles of this incarnation
	deferring atomic.Bool   // deferrals is not empty

	gate    sync.RWMutex // held for reading while a draft begins
	leaving bool         // none begins here any more: another server takes over

	mu        sync.Mutex
	drafts    map[uint64]*draft    // by node id
	handles   map[uint64]*handle   // by file handle, those that are not plain readers
	scratch   map[disk.File]*draft // files of config/ and decider/ that are neither
	pins      map[disk.Stamp]int   // descriptors that read a version through another inode
	redirects redirects
	deferrals map[uint32]*deferral // by thread
	refusals  map[uint64]*refusal  // by node id
	births    map[place]*birth     // what the poker is acting out
	wrote     map[disk.File]wrote  // who published last
	own       map[ownEdit]time.Time
	removals  removals
	readers   map[uint32]time.Time // processes that have just listed a dependency

	statusByID map[uint64]string
	alive      uint64 // the node of aliveFile

	history *histories
	members *memberFiles
	holds   *holds
	mounted time.Time // when the keeper mounted

	pace pace

	ending chan struct{} // closed when this server answers no more
	swaps  swaps

	appending turns

	background sync.WaitGroup // publications and announcements under way
}

// pace is how long is waited for what people do. Tests choose: a machine may be slower than any time, or faster.
type pace struct{ closeAfterSync, closeAfterWrite, outcome time.Duration }

// handle is an open file that has state of its own: a draft's descriptor, a status file's snapshot, a directory's listing.
type handle struct {
	node    uint64
	draft   *draft
	content []byte
	listing []listed
}

// New makes the file system that shows store.
func New(store *disk.Store, o Options) *FS {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}
	if o.Announced == nil {
		o.Announced = func(disk.Entry) {}
	}
	if o.Writable == nil {
		o.Writable = func() error { return nil }
	}
	if o.Check == nil {
		o.Check = func(context.Context, registry.Name, []byte) error { return nil }
	}
	if o.Quota == nil {
		o.Quota = func(disk.File) error { return nil }
	}
	if o.Reach == nil {
		o.Reach = o.Writable
	}
	f := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		store:         store,
		o:             o,
		log:           o.Logger,
		bodies:        newBodies(store),
		names:         newCallers(),
		drafts:        map[uint64]*draft{},
		handles:       map[uint64]*handle{},
		scratch:       map[disk.File]*draft{},
		pins:          map[disk.Stamp]int{},
		redirects:     redirects{},
		deferrals:     map[uint32]*deferral{},
		refusals:      map[uint64]*refusal{},
		removals:      removals{},
		readers:       map[uint32]time.Time{},
		own:           map[ownEdit]time.Time{},
		births:        map[place]*birth{},
		wrote:         map[disk.File]wrote{},
		statusByID:    map[uint64]string{},
		alive:         statusID(aliveFile),
		members:       newMemberFiles(),
		holds:         newHolds(),
		ending:        make(chan struct{}),
		pace:          pace{closeAfterSync: closeAfterSync, closeAfterWrite: closeAfterWrite, outcome: outcomeTime},
	}
	if store != nil {
		f.history = newHistories(filepath.Join(store.Dir(), "history"))
	}
	f.o.Status = maps.Clone(o.Status)
	if f.o.Status == nil {
		f.o.Status = map[string]func() []byte{}
	}
	f.o.Status[aliveFile] = func() []byte { return []byte("yes\n") }
	for name := range f.o.Status {
		f.statusByID[statusID(name)] = name
	}
	return f
}

// String names the file system in go-fuse's messages.
func (f *FS) String() string { return "kingpin" }

// unique is an id that no other draft or handle has had, in this server or in any before it.
func (f *FS) unique() uint64 {
	return draftBit | f.incarnation<<32 | f.serial.Add(1)&(1<<32-1)
}

// open registers a handle and returns its number.
func (f *FS) open(h *handle) uint64 {
	fh := f.unique()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handles[fh] = h
	return fh
}

// handle returns the handle of a number, or nil: a plain reader's, or one of a server that died.
func (f *FS) handle(fh uint64) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handles[fh]
}

// isPoker says whether a request comes from the process that touches files on our behalf.
func (f *FS) isPoker(h *fuse.InHeader) bool {
	return f.poker != nil && f.poker.Is(h.Pid)
}
