// Package mirror conducts: it makes this machine's disk hold what the registry says, and publishes what is written here.
//
// It knows three things about every name: whether it is wanted (some dependency of this machine holds it), what the registry
// last said about it, and what is on disk. Wherever the last two differ there is work to do, and it is done again until they
// agree; nothing hangs on having seen an event. What the registry says and cannot be right (a deleted node, an emptied
// serverset, a body that fails its checksum) is held: the last good version stays and the reason is shown.
//
// Locks: a name's lock (locks), held by whoever commits that name, also during I/O, so that a publication is committed by
// itself and never first by the follow loop; then Mirror.mu; then queue.mu, health.mu, locks.mu, quota.mu, schemas.mu, each alone. Only the first is
// held during I/O.
package mirror

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Registry is where pointers, members and dependencies live. Its feeds are level-triggered: they yield what is true now, then
// block until that differs; what happened in between may be skipped, an older Order is never yielded, an error is a passing trouble
// and the feed goes on, and only the end of ctx ends it. A node that is not there is a state that does not exist, not an error.
type Registry interface {
	// Watch follows a pointer.
	Watch(ctx context.Context, p registry.Pointer) iter.Seq2[registry.State, error]
	// State reads a pointer once.
	State(ctx context.Context, p registry.Pointer) (registry.State, error)
	// Create makes a pointer that was never written; ErrExist if it is there.
	Create(ctx context.Context, p registry.Pointer) error
	// Delete removes a pointer: ErrNotExist, ErrNotEmpty if there is something below it.
	Delete(ctx context.Context, p registry.Pointer) error
	// Move moves a pointer from base to next: ErrConflict if it is not at base, ErrNotExist if it is not there. It never moves before
	// store has succeeded, unless that is nil, whose error is Move's; after it has, moved runs where no other writer comes
	// between. An error that wraps ErrUnreachable or ErrTimeout and not ErrUnknown promises that nothing moved; one that is in no such way
	// definite leaves it open.
	Move(ctx context.Context, p registry.Pointer, base, next registry.Version,
		store func(context.Context) error, moved func(context.Context, registry.State) error) (registry.State, error)
	// Members follows a serverset.
	Members(ctx context.Context, name registry.Name) iter.Seq2[registry.Membership, error]
	// Dependency follows the edges of a dependency.
	Dependency(ctx context.Context, d registry.Dependency) iter.Seq2[registry.Edges, error]
	// CreateDependency makes an empty dependency; ErrExist.
	CreateDependency(ctx context.Context, d registry.Dependency) error
	// DeleteDependency removes an empty dependency; ErrNotExist, ErrNotEmpty.
	DeleteDependency(ctx context.Context, d registry.Dependency) error
	// Link adds an edge; ErrExist, ErrNotExist if the dependency or what the edge leads to is not there.
	Link(ctx context.Context, d registry.Dependency, e registry.Edge) error
	// Unlink removes an edge; ErrNotExist.
	Unlink(ctx context.Context, d registry.Dependency, e registry.Edge) error
	// Dependencies lists every dependency of the registry.
	Dependencies(ctx context.Context) ([]registry.Dependency, error)
	// Names lists every name of the registry.
	Names(ctx context.Context) ([]registry.Name, error)
}

// Changes is what a Registry may offer beside its feeds: one feed that says which nodes to read again, so that to follow a name costs no
// goroutine.
type Changes interface {
	// Follow has Changes tell of a name once at least, and whenever it may have changed, until stop is called.
	Follow(name registry.Name) (stop func())
	// Changes yields the nodes that may have changed since it yielded last, perhaps others too; nil says that any may have. An error
	// is a passing trouble; only the end of ctx ends it.
	Changes(ctx context.Context) iter.Seq2[[]registry.Pointer, error]
}

// Connected is what a Registry may offer to those who are about to write: whether there is a connection now. One that has just been lost is
// not fresh, whenever it answered last.
type Connected interface{ Connected() bool }

// Bodies is where published bodies live, by key, immutable.
type Bodies interface {
	// Put stores a body; the same bytes again are fine, other bytes under the same key are ErrExist.
	Put(ctx context.Context, key string, b registry.Body) error
	// Fetch returns a body; ErrNotExist, and ErrChecksum if its bytes are not those that were put.
	Fetch(ctx context.Context, key string) (registry.Body, error)
	// PutIndex repeats the current version beside the bodies, for readers without the registry.
	PutIndex(ctx context.Context, key string, v registry.Version) error
	// List is the last bodies, at most so many, whose keys are prefix, a digit and anything, in descending order of the keys. Their
	// Meta may be left out.
	List(ctx context.Context, prefix string, most int) ([]registry.Stored, error)
	// Stat is what Fetch would return, without the bytes; ErrNotExist.
	Stat(ctx context.Context, key string) (registry.Stored, error)
}

// Options of a Mirror. The zero value follows base.dep and the deciders, and nothing else.
type Options struct {
	Dependencies []registry.Dependency // what this machine follows; base.dep comes by itself
	Create       bool                  // make those of Dependencies that do not exist
	MaxBody      int64                 // bytes of one config, 0: 16 MiB
	MaxVersions  int                   // of one name published here within a minute, 0: 60, below 0: any number
	Host         string                // for the author of what has none, "": the host's name
	Logger       *slog.Logger          // nil: nothing is logged

	Guard func(registry.Name) GuardRules // of a serverset, nil: DefaultGuard for all

	Registrar *Registrar // of this machine, which outlives the mirror; nil: one of its own, for a fleet

	Workers        int           // names that are fetched at a time, 0: 32
	Grace          time.Duration // how long a file outlives its last subscription, 0: a minute
	Audit          time.Duration // how long it takes to ask about every name once more, 0: half an hour
	PublishTimeout time.Duration // how long a publication may take, 0: 10 s
	FetchTimeout   time.Duration // how long the fetch of one body may take, 0: 30 s
}

// DefaultMaxBody is the size of the largest config that is published and followed, in bytes.
const DefaultMaxBody = 16 << 20

func (o Options) withDefaults() Options {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.MaxVersions == 0 {
		o.MaxVersions = DefaultMaxVersions
	}
	if o.Host == "" {
		o.Host, _ = os.Hostname() // an author without a host is better than no service
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Workers == 0 {
		o.Workers = 32
	}
	if o.Grace == 0 {
		o.Grace = time.Minute
	}
	if o.Audit == 0 {
		o.Audit = 30 * time.Minute
	}
	if o.PublishTimeout == 0 {
		o.PublishTimeout = 10 * time.Second
	}
	if o.FetchTimeout == 0 {
		o.FetchTimeout = 30 * time.Second
	}
	return o
}

// Mirror keeps one disk store equal to what one registry says. Its methods may be called from many goroutines.
type Mirror struct {
	registry Registry
	changes  Changes // nil: a feed for each name
	bodies   Bodies
	store    *disk.Store
	o        Options
	log      *slog.Logger

	registrar *Registrar

	locks    locks
	queue    *queue
	slots    slots
	health   *health
	quota    *quota
	schemas  schemas
	counters counters
	running  atomic.Bool
	feeds    sync.WaitGroup // one a followed name and dependency; owned by conduct
	plan     chan struct{}  // holds one token while the plan of what is wanted may be out of date

	guestsSaving sync.Mutex // held across the write of their file; taken before mu

	mu           sync.Mutex
	dependencies map[registry.Dependency]*dependency // those that are reached from the roots
	departed     map[registry.Dependency]*dependency // that were until a moment ago
	followers    map[registry.Name]*follower         // wanted names, and unwanted ones during their grace
	shown        map[registry.Dependency][]registry.Edge
	guests       []registry.Dependency // shown and not followed, the oldest first
	guestsNew    bool                  // the file does not say so yet
	accepted     acceptances
	unindexed    map[registry.Pointer]struct{} // whose index object is behind
	complained   map[string]string             // what was said last on a subject, to say it once
	recalled     bool                          // the disk knew what is followed
	unsurveyed   bool                          // a dependency has said something that survey has not seen
	ready        bool                          // everything that was wanted has been here once
	started      time.Time
	changed      chan struct{} // closed and replaced when something that await waits for may have happened; nil: nobody waits
}

// New returns the mirror of r and b in s. It knows what the disk knows; nothing moves before Run.
func New(r Registry, b Bodies, s *disk.Store, o Options) *Mirror {
	o = o.withDefaults()
	m := &Mirror{
		registry:     r,
		bodies:       b,
		store:        s,
		o:            o,
		log:          o.Logger,
		queue:        newQueue(),
		slots:        make(slots, o.Workers),
		quota:        newQuota(o.MaxVersions),
		plan:         make(chan struct{}, 1),
		dependencies: map[registry.Dependency]*dependency{},
		departed:     map[registry.Dependency]*dependency{},
		followers:    map[registry.Name]*follower{},
		shown:        map[registry.Dependency][]registry.Edge{},
		unindexed:    map[registry.Pointer]struct{}{},
		complained:   map[string]string{},
	}
	m.changes, _ = r.(Changes)
	if m.registrar = o.Registrar; m.registrar == nil {
		m.registrar = NewRegistrar(RegistrarOptions{Logger: m.log})
	}
	m.health = newHealth(m.log)
	m.recall()
	return m
}

// Run follows until ctx is done. All that it started has ended when it returns. A Mirror runs once.
func (m *Mirror) Run(ctx context.Context) error {
	if m.running.Swap(true) {
		return errors.New("mirror: Run was called before")
	}
	m.mu.Lock()
	m.started = time.Now()
	m.mu.Unlock()

	var parts sync.WaitGroup
	for _, part := range []func(context.Context){
		m.conduct,
		func(ctx context.Context) { m.queue.run(ctx, waiting*m.o.Workers, m.reconcile, m.rest) },
		m.audit,
		m.probe,
		m.mend,
		m.hearChanges,
		m.runRegistrar,
		m.hearAcceptances,
	} {
		parts.Go(func() { part(ctx) })
	}
	parts.Wait()
	return nil
}
