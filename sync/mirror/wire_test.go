package mirror

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
)

type plain struct {
	Registry
	accepting
	connecting
}

type (
	accepting  interface{ Acceptances }
	connecting interface{ Connected }
)

type wire struct {
	*embedded.Registry

	mu      sync.Mutex
	cut     chan struct{}             // closed when the wire is mended; nil: it is whole
	silent  bool                      // the registry never answers, the bodies do
	gone    bool                      // and so is the connection, as the registry's client knows
	deaf    bool                      // feeds yield nothing after the first state
	untold  map[registry.Pointer]bool // followed names of which Changes has not told
	fetch   func(key string) error
	put     func(key string) error
	advance func(call func() (registry.State, error)) (registry.State, error)
	index   func() error
	edges   func(d registry.Dependency, e registry.Edges) registry.Edges
	fetched []string
	probed  int // questions whether anybody is there
	indexes map[string]registry.Version
}

func (c *wire) set(f func(c *wire)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *wire) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.gone
}

func (c *wire) unplug() (plug func()) {
	cut := make(chan struct{})
	c.set(func(c *wire) { c.cut = cut })
	return func() {
		c.set(func(c *wire) { c.cut = nil })
		close(cut)
	}
}

var errCut = fmt.Errorf("connection refused: %w", registry.ErrUnreachable)

func (c *wire) whole() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != nil {
		return errCut
	}
	return nil
}

// through is a feed behind the wire. A deaf one yields only once.
func through[T any](ctx context.Context, c *wire, feed iter.Seq2[T, error]) iter.Seq2[T, error] {
	return connected(ctx, c, func(yield func(T, error) bool) {
		for value, err := range feed {
			if !yield(value, err) {
				return
			}
			c.mu.Lock()
			deaf := c.deaf
			c.mu.Unlock()
			if deaf {
				<-ctx.Done()
				return
			}
		}
	})
}

// connected is a feed that ends and begins again with the connection.
func connected[T any](ctx context.Context, c *wire, feed iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for ctx.Err() == nil {
			c.mu.Lock()
			cut, silent := c.cut, c.silent
			c.mu.Unlock()
			if silent {
				<-ctx.Done()
				return
			}
			if cut != nil {
				if !yield(none, errCut) {
					return
				}
				select {
				case <-cut:
				case <-ctx.Done():
				}
				continue
			}
			for value, err := range feed {
				if c.whole() != nil {
					break
				}
				if !yield(value, err) {
					return
				}
			}
		}
	}
}

func (c *wire) Watch(ctx context.Context, p registry.Pointer) iter.Seq2[registry.State, error] {
	return through(ctx, c, c.Registry.Watch(ctx, p))
}

func (c *wire) Follow(n registry.Name) (stop func()) {
	c.set(func(c *wire) {
		if c.untold == nil {
			c.untold = map[registry.Pointer]bool{}
		}
		c.untold[n.Pointer()] = true
	})
	return c.Registry.Follow(n)
}

// Changes of a deaf wire tells of each name once, as its feeds would.
func (c *wire) Changes(ctx context.Context) iter.Seq2[[]registry.Pointer, error] {
	return connected(ctx, c, func(yield func([]registry.Pointer, error) bool) {
		for nodes, err := range c.Registry.Changes(ctx) {
			c.set(func(c *wire) {
				if nodes == nil {
					clear(c.untold)
				}
				known := func(p registry.Pointer) bool { return !c.untold[p] }
				if c.deaf {
					nodes = slices.DeleteFunc(nodes, known)
				}
				for _, p := range nodes {
					delete(c.untold, p)
				}
			})
			if (nodes == nil || len(nodes) > 0) && !yield(nodes, err) {
				return
			}
		}
	})
}

func (c *wire) Members(ctx context.Context, n registry.Name) iter.Seq2[registry.Membership, error] {
	return through(ctx, c, c.Registry.Members(ctx, n))
}

func (c *wire) Acceptances(ctx context.Context) iter.Seq2[registry.Acceptances, error] {
	return through(ctx, c, c.Registry.Acceptances(ctx))
}

func (c *wire) PutAcceptance(ctx context.Context, a registry.Acceptance) error {
	if err := c.whole(); err != nil {
		return err
	}
	return c.Registry.PutAcceptance(ctx, a)
}

func (c *wire) Dependency(ctx context.Context, d registry.Dependency) iter.Seq2[registry.Edges, error] {
	return func(yield func(registry.Edges, error) bool) {
		for edges, err := range through(ctx, c, c.Registry.Dependency(ctx, d)) {
			c.mu.Lock()
			change := c.edges
			c.mu.Unlock()
			if change != nil && err == nil {
				edges = change(d, edges)
			}
			if !yield(edges, err) {
				return
			}
		}
	}
}

func (c *wire) State(ctx context.Context, p registry.Pointer) (registry.State, error) {
	if err := c.whole(); err != nil {
		return registry.State{}, err
	}
	c.mu.Lock()
	silent := c.silent
	c.mu.Unlock()
	if silent {
		<-ctx.Done()
		return registry.State{}, ctx.Err()
	}
	return c.Registry.State(ctx, p)
}

func (c *wire) Move(ctx context.Context, p registry.Pointer, base, next registry.Version, store func(context.Context) error,
	moved func(context.Context, registry.State) error) (registry.State, error) {
	if err := c.whole(); err != nil {
		return registry.State{}, err
	}
	c.mu.Lock()
	wrap := c.advance
	c.mu.Unlock()
	if wrap != nil && store != nil { // the trouble comes when the body is there
		if err := store(ctx); err != nil {
			return registry.State{}, err
		}
		store = nil
	}
	call := func() (registry.State, error) { return c.Registry.Move(ctx, p, base, next, store, moved) }
	if wrap != nil {
		return wrap(call)
	}
	return call()
}

func (c *wire) Put(ctx context.Context, key string, b registry.Body) error {
	if err := c.whole(); err != nil {
		return err
	}
	c.mu.Lock()
	put := c.put
	c.mu.Unlock()
	if put != nil {
		if err := put(key); err != nil {
			return err
		}
	}
	return c.Registry.Put(ctx, key, b)
}

func (c *wire) PutIndex(ctx context.Context, key string, v registry.Version) error {
	if err := c.whole(); err != nil {
		return err
	}
	c.mu.Lock()
	failing := c.index
	c.mu.Unlock()
	if failing != nil {
		if err := failing(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.indexes == nil {
		c.indexes = map[string]registry.Version{}
	}
	c.indexes[key] = v
	return c.Registry.PutIndex(ctx, key, v)
}

func (c *wire) Fetch(ctx context.Context, key string) (registry.Body, error) {
	if err := c.whole(); err != nil {
		return registry.Body{}, err
	}
	c.mu.Lock()
	fetch := c.fetch
	if key == registry.DeciderName.Pointer().IndexKey() {
		c.probed++
	} else {
		c.fetched = append(c.fetched, key)
	}
	c.mu.Unlock()
	if fetch != nil {
		if err := fetch(key); err != nil {
			return registry.Body{}, err
		}
	}
	return c.Registry.Fetch(ctx, key)
}

func (c *wire) List(ctx context.Context, prefix string, most int) ([]registry.Stored, error) {
	if err := c.whole(); err != nil {
		return nil, err
	}
	return c.Registry.List(ctx, prefix, most)
}

func (c *wire) Stat(ctx context.Context, key string) (registry.Stored, error) {
	if err := c.whole(); err != nil {
		return registry.Stored{}, err
	}
	return c.Registry.Stat(ctx, key)
}
