package zookeeper

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// feed yields the value of a node, now and whenever it differs from what was yielded last. It is a loop in its consumer's
// goroutine, and costs nothing else but a place at the node. After an error the present value follows, changed or not.
func feed[T any](ctx context.Context, c *Client, k key) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := c.follow(k)
		defer c.unfollow(n) // even if the consumer panics
		f := follower{c: c, n: n}
		for {
			value, ok, err := f.next(ctx)
			if !ok {
				return
			}
			v, _ := value.(T)
			if !yield(v, err) {
				return
			}
		}
	}
}

// follower is one feed's place.
type follower struct {
	c       *Client
	n       *node
	known   bool   // a value has been yielded, and no error since
	news    uint64 // which value
	errs    uint64 // which error was yielded last
	trouble bool   // the reason for having no value has been yielded
	closed  bool   // ErrClosed has been yielded
}

// next waits for what the feed should yield. It is not ok when ctx is done.
func (f *follower) next(ctx context.Context) (value any, ok bool, err error) {
	for ctx.Err() == nil {
		value, wait, err := f.look()
		if wait == nil {
			return value, true, err
		}
		select {
		case <-wait.bell:
		case <-wait.changed:
		case <-ctx.Done():
		}
	}
	return nil, false, nil
}

// waiting is what a feed with nothing to yield waits for.
type waiting struct{ bell, changed <-chan struct{} }

// look returns what there is to yield, or what to wait for.
func (f *follower) look() (value any, wait *waiting, err error) {
	c, n := f.c, f.n
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = &waiting{bell: n.bell}
	switch {
	case c.closed:
		if f.closed {
			return nil, &waiting{}, nil
		}
		f.closed, f.known = true, false
		return nil, nil, ErrClosed
	case n.err != nil:
		if f.errs != n.errs {
			f.errs, f.known = n.errs, false
			return nil, nil, n.err
		}
	case f.known && f.news == n.news:
		// Nothing new; and while there is no connection nothing is.
		wait.changed = c.closing
		return nil, wait, nil
	case n.value != nil && (f.known || n.armed != nowhere || c.link == nil):
		// A feed that begins does not begin with a value that is known to be old, if it can have a better one.
		f.known, f.news, f.trouble = true, n.news, false
		return n.value, nil, nil
	}
	wait.changed = c.changed
	if c.trouble != nil && !f.trouble && !f.known {
		f.trouble = true
		return nil, nil, c.trouble
	}
	return nil, wait, nil
}

// same says whether two values of one kind are equal, so that nobody needs to hear of the second.
func same(a, b any) bool {
	switch a := a.(type) {
	case registry.Membership:
		b := b.(registry.Membership)
		return a.Exists == b.Exists && a.Order == b.Order && slices.EqualFunc(a.Members, b.Members, func(a, b registry.Member) bool {
			return a.Node == b.Node && a.Since.Equal(b.Since)
		})
	case registry.Edges:
		b := b.(registry.Edges)
		return a.Exists == b.Exists && a.Order == b.Order && slices.Equal(a.Members, b.Members)
	case registry.Acceptances:
		b := b.(registry.Acceptances)
		return a.Order == b.Order && slices.Equal(a.List, b.List)
	}
	return a == b
}

// refuse is the feed of what cannot exist.
func refuse[T any](ctx context.Context, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if ctx.Err() == nil && yield(none, fmt.Errorf("follow: %w", err)) {
			<-ctx.Done()
		}
	}
}

// bell is rung when something is heard of a path that has no node: what a lock waits for.
type bell struct {
	rung    chan struct{}
	waiting int
}

// listen returns the path's bell. Listening before looking is what misses nothing.
func (c *Client) listen(path string) *bell {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bells[path]
	if b == nil {
		b = &bell{rung: make(chan struct{})}
		c.bells[path] = b
	}
	b.waiting++
	return b
}

// leave forgets a bell that nobody listens to any more.
func (c *Client) leave(path string, b *bell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.waiting--; b.waiting == 0 && c.bells[path] == b {
		delete(c.bells, path)
	}
}

func (c *Client) ringLocked(path string) {
	if b := c.bells[path]; b != nil {
		close(b.rung)
		delete(c.bells, path)
	}
}
