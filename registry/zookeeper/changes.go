package zookeeper

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
)

// watcher is one consumer of Changes, and the nodes that it has not been told of. Client.mu guards them.
type watcher struct {
	nodes  map[registry.Pointer]struct{}
	wake   chan struct{}
	told   bool // of a node: from then on the loss of the connection is nothing to speak of
	closed bool // ErrClosed has been yielded
}

// tell is called with Client.mu.
func (w *watcher) tell(p registry.Pointer) {
	w.nodes[p] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// Follow has Changes tell of a name as soon as it has been read, and then whenever it reads otherwise, until stop is called. It is
// a feed without a goroutine: the node is watched, is read again when it has changed, and stays watched over lost connections and
// sessions. What was read State and Members return without asking the ensemble once more. A serverset that has changed is read
// when Members is asked for it.
func (c *Client) Follow(n registry.Name) (stop func()) {
	if _, err := registry.ParseName(string(n)); err != nil {
		return func() {} // nothing that could change
	}
	k := key{c.path(n.Pointer()), pointer}
	if n.Kind() == registry.Serverset {
		k.kind = members
	}
	node := c.follow(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	node.followers++
	if node.value != nil && node.armed != nowhere {
		c.tellLocked(node)
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		node.followers--
		c.mu.Unlock()
		c.unfollow(node)
	})
}

// Changes yields which of the followed names have been read since it yielded last and may read otherwise, or could not be read: their
// pointers, sorted and each once. It begins with those that are known. An error is a passing trouble: no connection before there
// was one. Losing it later is none, since nothing is missed by that. It ends with ctx.
func (c *Client) Changes(ctx context.Context) iter.Seq2[[]registry.Pointer, error] {
	return func(yield func([]registry.Pointer, error) bool) {
		w := c.watchAll()
		defer c.unwatchAll(w)
		var trouble error
		for ctx.Err() == nil {
			nodes, wait, err := c.news(w, trouble)
			switch {
			case wait == nil && err != nil:
				trouble = err
				fallthrough
			case wait == nil:
				if !yield(nodes, err) {
					return
				}
				continue
			}
			select {
			case <-w.wake:
			case <-wait.changed:
			case <-ctx.Done():
			}
		}
	}
}

func (c *Client) watchAll() *watcher {
	w := &watcher{nodes: make(map[registry.Pointer]struct{}), wake: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[w] = struct{}{}
	for _, n := range c.nodes {
		if n.followers > 0 && n.value != nil {
			w.tell(c.pointer(n))
		}
	}
	return w
}

func (c *Client) unwatchAll(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watchers, w)
}

// news returns what there is to tell a watcher, or what to wait for. reported is the trouble that it knows of.
func (c *Client) news(w *watcher, reported error) (nodes []registry.Pointer, wait *waiting, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed && w.closed:
		return nil, &waiting{}, nil
	case c.closed:
		w.closed = true
		return nil, nil, ErrClosed
	case len(w.nodes) > 0:
		nodes = slices.Sorted(maps.Keys(w.nodes))
		clear(w.nodes)
		w.told = true
		return nodes, nil, nil
	case c.trouble != nil && !w.told && reported == nil:
		return nil, nil, c.trouble
	}
	return nil, &waiting{changed: c.changed}, nil
}

// tellLocked tells those who listen to Changes of a node, if it is followed.
func (c *Client) tellLocked(n *node) {
	if n.followers == 0 {
		return
	}
	for w := range c.watchers {
		w.tell(c.pointer(n))
	}
}

// pointer is the opposite of path.
func (c *Client) pointer(n *node) registry.Pointer {
	return registry.Pointer(strings.TrimPrefix(n.path, c.chroot))
}

// unasked is the state of a pointer that is followed, if it was read since anybody asked for it. If it is just being read, that is
// awaited. Whoever asks twice wants to know whether the watch is still good, and has the ensemble asked.
func (c *Client) unasked(ctx context.Context, p registry.Pointer) (s registry.State, ok bool) {
	for {
		c.mu.Lock()
		n := c.nodes[key{c.path(p), pointer}]
		switch {
		case n == nil || n.followers == 0 || n.err != nil || c.link == nil || c.link.freeze != nil:
			c.mu.Unlock()
			return s, false
		case n.armed != nowhere:
			ok = n.value != nil && n.taken != n.news
			if ok {
				n.taken = n.news
				s, ok = n.value.(registry.State)
			}
			c.mu.Unlock()
			return s, ok
		case !n.queued && !n.busy:
			c.mu.Unlock()
			return s, false
		}
		bell, changed := n.bell, c.changed
		c.mu.Unlock()
		select {
		case <-bell:
		case <-changed:
		case <-ctx.Done():
			return s, false
		}
	}
}
