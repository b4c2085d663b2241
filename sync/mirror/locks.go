package mirror

import (
	"context"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
)

// locks hands out one lock a name. A name that nobody locks costs nothing. The zero value is ready.
type locks struct {
	mu    sync.Mutex
	names map[registry.Name]*lock
}

type lock struct {
	slot  chan struct{} // full while locked
	users int           // that hold it or wait for it
}

// lock waits for the lock of name until ctx is done.
func (l *locks) lock(ctx context.Context, name registry.Name) (unlock func(), err error) {
	k := l.join(name)
	select {
	case k.slot <- struct{}{}:
		return func() { <-k.slot; l.leave(name) }, nil
	case <-ctx.Done():
		l.leave(name)
		return nil, ctx.Err()
	}
}

// try takes the lock of name if it is free.
func (l *locks) try(name registry.Name) (unlock func(), ok bool) {
	k := l.join(name)
	select {
	case k.slot <- struct{}{}:
		return func() { <-k.slot; l.leave(name) }, true
	default:
		l.leave(name)
		return nil, false
	}
}

func (l *locks) join(name registry.Name) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.names[name]
	if k == nil {
		if l.names == nil {
			l.names = map[registry.Name]*lock{}
		}
		k = &lock{slot: make(chan struct{}, 1)}
		l.names[name] = k
	}
	k.users++
	return k
}

func (l *locks) leave(name registry.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.names[name]
	k.users--
	if k.users == 0 {
		delete(l.names, name)
	}
}
