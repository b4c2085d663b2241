package embedded

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// watcher is one consumer of Changes, and the nodes that it has not been told of. Registry.mu guards them.
type watcher struct {
	nodes map[registry.Pointer]struct{}
	wake  chan struct{}
}

// Changes yields nil at once, which says that any node may have changed, and then the nodes that may have changed since it
// yielded last, sorted and each once. Who follows very many nodes reads each of them after the nil and follows them all with one
// goroutine: ten thousand feeds have ten thousand stacks, 40 MB of them (BenchmarkFollowing in sync/mirror). It ends with ctx.
func (r *Registry) Changes(ctx context.Context) iter.Seq2[[]registry.Pointer, error] {
	return func(yield func([]registry.Pointer, error) bool) {
		w := &watcher{nodes: map[registry.Pointer]struct{}{}, wake: make(chan struct{}, 1)}
		r.mu.Lock()
		r.watchers[w] = struct{}{}
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.watchers, w)
		}()
		if ctx.Err() != nil || !yield(nil, nil) {
			return
		}
		for {
			select {
			case <-w.wake:
			case <-r.closing:
				if yield(nil, r.errorf("%w", ErrClosed)) {
					<-ctx.Done()
				}
				return
			case <-ctx.Done():
				return
			}
			r.mu.Lock()
			nodes := slices.Sorted(maps.Keys(w.nodes))
			clear(w.nodes)
			r.mu.Unlock()
			if len(nodes) == 0 {
				continue // told of with those before; nil would say that any may have changed
			}
			if ctx.Err() != nil || !yield(nodes, nil) {
				return
			}
		}
	}
}

// Follow has Changes tell of a name once. It tells of every node that changes, whether anybody follows it or not.
func (r *Registry) Follow(n registry.Name) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		w.tell(n.Pointer())
	}
	return func() {}
}

// tell is called with Registry.mu.
func (w *watcher) tell(p registry.Pointer) {
	if p == "" {
		return // a body, which is no node
	}
	w.nodes[p] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}
