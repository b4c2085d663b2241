// Package embedded keeps a whole registry for one machine in one bbolt file: names, versions, bodies and dependencies,
// and, for as long as the process lives, the members of serversets.
//
// A change is one bbolt transaction and is durable when its method returns; changes that are asked for at the same time
// share a transaction. A reader sees the state before a transaction or after it. Order grows with every change of a node
// and never goes back, in this process or in a later one. A feed is a loop in its consumer's goroutine: it costs nothing
// but an entry in a map, and only a change of its own node wakes it.
//
// The file admits one process. Members are not written to it: a registry that is opened has none.
//
// Locks, outermost first: a pointer's turn (Advance), the commit token (one transaction at a time), Registry.mu. No I/O
// happens under Registry.mu, and nobody waits for a turn while holding the token.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	bolt "go.etcd.io/bbolt"
)

var (
	// ErrDamaged is what Open and any other method wrap when the file does not hold what was written to it.
	ErrDamaged = errors.New("is damaged")

	// ErrInUse is what Open wraps when another process has the file open.
	ErrInUse = errors.New("is in use by another process")

	// ErrClosed is what methods wrap after Close. It is registry.ErrUnreachable too.
	ErrClosed = fmt.Errorf("is closed: %w", registry.ErrUnreachable)
)

// Options of Open. The zero value is usable.
type Options struct {
	// Logger hears of what no caller is told: an index that could not be written. Default: nobody.
	Logger *slog.Logger

	// Timeout is how long Open waits for another process to let go of the file. Default: 2 s.
	Timeout time.Duration
}

// Registry is an open registry file. Its methods may be called from any goroutine.
type Registry struct {
	path   string
	logger *slog.Logger
	db     *bolt.DB
	file   *os.File // the one that bbolt has opened and locked
	views  atomic.Uint64

	token   chan struct{} // whoever has put one in is committing
	closing chan struct{} // closed by Close

	mu       sync.Mutex
	closed   bool
	writing  error     // why nothing can be written any more; nil while it can
	stuck    bool      // bbolt holds locks of its own that it will not give back
	queue    []*change // asked for, not yet taken by a committer
	bells    map[registry.Pointer]*bell
	watchers map[*watcher]struct{}
	turns    map[registry.Pointer]*turn
	sets     map[registry.Name]*set
	joined   registry.Order // how many members there are in all sets
	next     registry.Order // the next order to hand out
	ceiling  registry.Order // the file promises that no change has had this order or a later one
	opened   registry.Order // the ceiling when the file was opened
}

// errorf says which file an error is about.
func (r *Registry) errorf(format string, args ...any) error {
	return fmt.Errorf("registry file %s %w", r.path, fmt.Errorf(format, args...))
}

// Close waits for the changes that are being committed, then gives the file back. Feeds yield ErrClosed, Join returns it.
func (r *Registry) Close() error {
	r.token <- struct{}{}
	defer func() { <-r.token }()

	r.mu.Lock()
	closed, stuck, queue := r.closed, r.stuck, r.queue
	r.closed, r.queue = true, nil
	r.mu.Unlock()
	if closed {
		return nil
	}
	close(r.closing)
	for _, c := range queue {
		c.finish(r.errorf("%w", ErrClosed))
	}
	r.ringAll()
	if stuck {
		return release(r.file) // bbolt's Close would wait for ever
	}
	return guard(r.path, r.db.Close)
}
