package zookeeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// readers bounds how many nodes are read at a time: after an outage and at the start there may be ten thousand to read.
	readers = 32
	// patienceWithRestoring is how often in a row a connection may break while it restores watches, before everything is read
	// again instead.
	patienceWithRestoring = 2
	// longRecheck is the longest pause before a node that could not be read is tried again.
	longRecheck = 30 * time.Second
)

// kind is how a node is looked at.
type kind uint8

const (
	pointer  kind = iota // its data: registry.State
	members              // its children and their data: registry.Membership
	edges                // its children: registry.Edges
	accepts              // its children and their data: registry.Acceptances
	presence             // who has made it: owner
	identity             // when it was made: string, see Ensemble.Root
	kinds
)

// table is where a server has put a watch.
type table uint8

const (
	nowhere  table = iota // not armed
	exists                // the node is missing
	data                  // of the node
	children              // of the node
)

// hears says whether an event is one of a watch in the table.
func (t table) hears(e zk.EventType) bool {
	switch e {
	case zk.EventNodeCreated:
		return t == exists
	case zk.EventNodeDataChanged:
		return t == data
	case zk.EventNodeChildrenChanged:
		return t == children
	case zk.EventNodeDeleted:
		return t == data || t == children
	}
	return false
}

type key struct {
	path string
	kind kind
}

// node is what is known of a node with feeds. It stays while it is armed, though the last feed has gone: the server will not forget
// its watch either, and the next feed finds it.
type node struct {
	key
	feeds  int           // followers among them
	bell   chan struct{} // closed when there is something new
	value  any           // the last one read; nil: none yet
	zxid   int64         // of the change that made it so; 0: there is nothing, or no value yet
	news   uint64        // counts values
	err    error         // why it could not be read, if that was the last that happened
	errs   uint64        // counts errors
	armed  table
	events uint64 // counts what may have changed it
	queued bool
	busy   bool // being read
	paused bool // until it is tried again
	tries  int  // in vain
	retry  *time.Timer

	followers int    // by Follow
	told      bool   // they know that it is to be read, and nobody has read it since
	taken     uint64 // which value State has returned without asking

	// Of members and edges, for whoever reads the node.
	odd      map[string]bool // children that do not belong there
	cversion int32           // how often children have come and gone
}

// reading is one look at a node.
type reading struct {
	value any
	armed table
	zxid  int64 // of the change that made it so
}

// disarm says that its value may be old.
func (n *node) disarm() {
	n.armed = nowhere
	n.events++
}

// ring wakes the feeds.
func (n *node) ring() {
	close(n.bell)
	n.bell = make(chan struct{})
}

// accept takes what was read.
func (n *node) accept(r reading) {
	n.err, n.tries, n.zxid = nil, 0, r.zxid
	if n.value == nil || !same(n.value, r.value) {
		n.value = r.value
		n.news++
	}
	n.ring()
}

// follow is called by a feed that begins.
func (c *Client) follow(k key) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[k]
	if n == nil {
		n = &node{key: k, bell: make(chan struct{})}
		c.nodes[k] = n
	}
	n.feeds++
	c.feeds++
	c.enqueueLocked(n)
	return n
}

// unfollow is called by a feed that ends.
func (c *Client) unfollow(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.feeds--
	c.feeds--
	c.forgetLocked(n)
}

// forgetLocked drops a node that is of no use to anybody.
func (c *Client) forgetLocked(n *node) {
	if n.feeds > 0 || n.busy || n.armed != nowhere && c.link != nil || c.nodes[n.key] != n {
		return
	}
	delete(c.nodes, n.key)
	if n.retry != nil {
		n.retry.Stop()
	}
}

// heard is called for each event, by the goroutine that reads the connection, before anything later is read.
func (c *Client) heard(e zk.Event) {
	if e.Type == zk.EventSession || e.Type == zk.EventNotWatching {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range kinds {
		n := c.nodes[key{e.Path, k}]
		if n == nil || !n.busy && !n.armed.hears(e.Type) {
			continue
		}
		n.disarm()
		c.enqueueLocked(n)
		c.forgetLocked(n)
	}
	c.ringLocked(e.Path)
}

// enqueueLocked has a node read if it must be.
func (c *Client) enqueueLocked(n *node) {
	if n.feeds == 0 || n.armed != nowhere || n.queued || n.busy || n.paused || !c.readableLocked(n) {
		return
	}
	if n.kind == members && n.value != nil && n.feeds == n.followers {
		// A large set that many join at once is long. It is read when somebody asks, at his pace and not at that of those who join.
		if !n.told {
			n.told = true
			c.tellLocked(n)
		}
		return
	}
	n.queued = true
	c.queue = append(c.queue, n)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// readableLocked says whether there is a connection for it. On one that is frozen members are looked after nevertheless, unless the
// ensemble is not even the same: others rely on them, and they are lost to nobody if they are too many.
func (c *Client) readableLocked(n *node) bool {
	return c.link != nil && (c.link.freeze == nil || n.kind == presence && !c.link.foreign)
}

// armed lists the watches that a new connection must have, and the latest change that the armed nodes show: those with a later one
// have changed since. With a new session presence has to be looked at again. It is called while there is no connection.
//
// Of a node that is armed every change up to that zxid has been heard, since a server tells of changes in their order, and of each before
// it shows a later one. go-zookeeper would use the zxid of the last message, and takes it from the new connection if that is
// quick. The zxid of the last message will not do at all if the ensemble has lost some changes, though none of ours.
func (c *Client) armed(l *link) (zxid int64, w watches) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.anew = l.session.id != c.served
	mistrusted := c.unrestored >= patienceWithRestoring
	for _, n := range c.nodes {
		switch {
		case n.feeds == 0:
			n.disarm()
			c.forgetLocked(n)
			continue
		case mistrusted, l.anew && n.kind == presence:
			n.disarm()
		case n.armed == data:
			w.data = append(w.data, n.path)
		case n.armed == exists:
			w.exist = append(w.exist, n.path)
		case n.armed == children:
			w.child = append(w.child, n.path)
		}
		if n.armed != nowhere {
			zxid = max(zxid, n.zxid)
		}
	}
	return zxid, w
}

// restored notes whether a server has taken the watches back.
func (c *Client) restored(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unrestored++
	if err == nil {
		c.unrestored = 0
	}
}

// resyncLocked has everything read that is not armed, after a connection has come up.
func (c *Client) resyncLocked() {
	c.queue = nil
	for _, n := range c.nodes {
		n.queued, n.busy, n.paused, n.tries, n.told = false, false, false, 0, false
		if c.link.freeze != nil && n.kind == presence {
			n.disarm() // nobody has asked for its watch
		}
		c.enqueueLocked(n)
		c.forgetLocked(n)
	}
	for path := range c.bells {
		c.ringLocked(path)
	}
}

// refreshAll reads what is in the queue until ctx is done.
func (c *Client) refreshAll(ctx context.Context, l *link) {
	var work sync.WaitGroup
	defer work.Wait()
	slots := make(chan struct{}, readers)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n := c.next()
		for n == nil {
			select {
			case <-c.wake:
				n = c.next()
			case <-ctx.Done():
				return
			}
		}
		work.Go(func() {
			defer func() { <-slots }()
			c.refresh(ctx, l, n)
		})
	}
}

// next takes a node off the queue and marks it busy.
func (c *Client) next() *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		n := c.queue[0]
		c.queue = c.queue[1:]
		n.queued = false
		if c.nodes[n.key] == n {
			n.busy = true
			return n
		}
	}
	c.queue = nil
	return nil
}

// refresh reads a node once and arms it.
func (c *Client) refresh(ctx context.Context, l *link, n *node) {
	c.reads.Add(1)
	c.mu.Lock()
	last, events := n.value, n.events
	c.mu.Unlock()
	r, err := c.read(ctx, l, n, last)

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return // the watch is gone, and the next connection has it read
	}
	n.busy = false
	news, failed := n.news, n.err != nil
	switch {
	case errors.Is(err, errLost), ctx.Err() != nil:
		return
	case err != nil:
		n.err = err
		n.errs++
		n.ring()
		c.tellLocked(n)
		if r.armed == nowhere {
			c.retryLocked(n)
			return
		}
		n.tries, n.zxid = 0, r.zxid
	default:
		n.accept(r)
	}
	if n.events == events {
		n.armed = r.armed
	}
	if n.err == nil && !n.told && (n.news != news || failed) {
		c.tellLocked(n)
	}
	n.told = false
	c.learnLocked(n)
	c.enqueueLocked(n)
	c.forgetLocked(n)
}

// retryLocked tries a node again after a while, though nothing was heard of it.
func (c *Client) retryLocked(n *node) {
	n.tries++
	n.paused = true
	n.retry = time.AfterFunc(backoff(n.tries), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.nodes[n.key] == n {
			n.paused = false
			c.enqueueLocked(n)
		}
	})
}

// backoff is a random time up to a bound that doubles with each try: full jitter.
func backoff(tries int) time.Duration {
	return rand.N(min(time.Second<<min(tries, 6), longRecheck))
}
