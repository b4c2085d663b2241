package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	firstPause  = 100 * time.Millisecond // twice that at most for the second attempt, and so on
	longPause   = 30 * time.Second       // at most, however long the ensemble has been away
	memberPause = time.Second            // at most, of who has members while nobody listens
	attemptTime = 2 * time.Second        // at least, for dialling and greeting: a server that starts may take a connection and forget it
)

// outage is a time without a connection.
type outage struct {
	start    time.Time
	attempts int
	closed   bool      // nobody listened at the last address
	round    []address // not yet tried
}

// tenth of the time that the outage has lasted, within reason. When an ensemble comes back after a while with everybody at its door,
// whoever gives up early only knocks again.
func (o *outage) tenth() time.Duration { return min(time.Since(o.start)/10, longPause) }

// pause is a random time up to a bound that doubles with each attempt: full jitter.
//
// Sessions live on while the ensemble is down, and go on running out when it is back: a member must not come so late that it was gone. To
// knock at a closed door costs nobody anything. One that opens and does not answer has too many guests, and gets the long pauses.
func (c *Client) pause(o *outage) time.Duration {
	bound := max(c.options.MaxBackoff, o.tenth())
	if o.closed && c.hasMembers() {
		bound = min(bound, memberPause)
	}
	if o.attempts < 16 {
		bound = min(bound, firstPause<<o.attempts)
	}
	return rand.N(bound + 1)
}

// run is the life of the client: one connection after the other.
func (c *Client) run(ctx context.Context) {
	defer c.gone()
	o := &outage{start: time.Now()}
	for {
		l := c.connect(ctx, o)
		if l == nil {
			return
		}
		up := time.Now()
		c.up(l, o)
		c.serve(ctx, l)
		if ctx.Err() == nil {
			c.down(l)
		} else if c.hasHeirs() {
			l.fail(net.ErrClosed) // without a word, so that the session lives on
		}
		c.running.Go(l.retire)
		if ctx.Err() != nil {
			return
		}
		attempts := o.attempts + 1
		if time.Since(up) > c.options.SessionTimeout {
			attempts = 0 // one that breaks as soon as it is there does not start from the shortest pause again
		}
		o = &outage{start: time.Now(), attempts: attempts}
	}
}

// connect tries one address after the other, and looks them up anew when all have been tried. It returns nil when ctx is done.
func (c *Client) connect(ctx context.Context, o *outage) *link {
	var took time.Duration
	for {
		select {
		case <-time.After(c.pause(o) - took): // an attempt that took its time was a pause
		case <-ctx.Done():
			return nil
		}
		o.attempts++
		started := time.Now()
		l, err := c.attempt(ctx, o)
		if err == nil {
			return l
		}
		if ctx.Err() != nil {
			return nil
		}
		c.failed(o, err)
		took = time.Since(started)
	}
}

func (c *Client) attempt(ctx context.Context, o *outage) (*link, error) {
	limit := max(attemptTime, o.tenth())
	if len(o.round) == 0 {
		lookup, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var err error
		if o.round, err = c.addresses(lookup); err != nil {
			return nil, err
		}
	}
	next := o.round[0]
	o.round = o.round[1:]
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := c.open(ctx, next, s)
	o.closed = errors.Is(err, syscall.ECONNREFUSED)
	return l, err
}

func (c *Client) hasMembers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.joined) > 0
}

// serve does what there is to do on a connection until it is lost or ctx is done.
func (c *Client) serve(ctx context.Context, l *link) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { c.refreshAll(ctx, l) })
	work.Go(func() { c.settle(ctx, l) })
	select {
	case <-l.lost:
	case <-ctx.Done():
	}
	cancel()
	work.Wait()
}

// up makes a connection the present one.
func (c *Client) up(l *link, o *outage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := "zookeeper back"
	if c.connections == 0 {
		news = "zookeeper connected"
	}
	c.connections++
	log := c.options.Logger.With("server", l.server, "session", sessionName(l.session.id))
	if l.freeze != nil {
		log.Error("zookeeper frozen", "err", l.freeze)
	} else {
		log.Info(news, "after", time.Since(o.start).Round(time.Millisecond), "new_session", l.anew)
	}
	c.link, c.session, c.served = l, l.session, l.session.id
	c.trouble, c.since = l.freeze, time.Now()
	c.recogniseLocked()
	c.resyncLocked()
	c.changedLocked()
}

// down says that the connection is lost.
func (c *Client) down(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cause := l.cause
	c.link, c.since = nil, time.Now()
	c.trouble = fmt.Errorf("ZooKeeper at %s: %w: %w", l.server, registry.ErrUnreachable, cause)
	c.reconnects[reason(cause)]++
	c.growLocked(cause)
	c.options.Logger.Warn("zookeeper lost", "server", l.server, "err", cause)
	c.changedLocked()
}

// gone says that there will be no other connection.
func (c *Client) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.since = nil, time.Now()
}

// failed notes why there is still no connection. It is logged when it is the first reason.
func (c *Client) failed(o *outage, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.trouble == nil
	c.growLocked(err)
	c.trouble = fmt.Errorf("ZooKeeper: %w: %w", registry.ErrUnreachable, err)
	if !first {
		c.options.Logger.Debug("zookeeper still not reachable", "attempts", o.attempts, "err", err)
		return
	}
	c.options.Logger.Warn("zookeeper not reachable", "err", err)
	c.changedLocked()
}

// growLocked gives the next connection room for a message that was too large for the last one.
func (c *Client) growLocked(err error) {
	var o *oversize
	if !errors.As(err, &o) {
		return
	}
	for c.limit < o.size && c.limit < lastLimit {
		c.limit *= 2
	}
}

// changedLocked wakes everybody who waits for another state of the connection.
func (c *Client) changedLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// usable returns the present connection, and waits for one if there is none: until ctx is done, or for as long as a session lasts
// if ctx has no deadline. A frozen one is an error at once.
func (c *Client) usable(ctx context.Context) (*link, error) {
	return c.await(ctx, func(l *link) bool { return l.freeze == nil })
}

func (c *Client) await(ctx context.Context, good func(*link) bool) (*link, error) {
	var missed <-chan time.Time
	for {
		c.mu.Lock()
		l, closed, trouble, changed := c.link, c.closed, c.trouble, c.changed
		c.mu.Unlock()
		switch {
		case closed:
			return nil, ErrClosed
		case ctx.Err() != nil && l != nil: // without a connection that is the reason, however late somebody asks
			return nil, expired(ctx)
		case l != nil && !good(l):
			return nil, l.freeze
		case l != nil && !l.isLost():
			return l, nil
		}
		if _, limited := ctx.Deadline(); missed == nil && !limited {
			timer := time.NewTimer(c.options.SessionTimeout)
			defer timer.Stop()
			missed = timer.C
		}
		select {
		case <-changed:
		case <-missed:
			return nil, unreachable(trouble)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", unreachable(trouble), ctx.Err())
		}
	}
}

// unreachable is what is known about why there is no connection.
func unreachable(trouble error) error {
	if trouble == nil {
		return fmt.Errorf("ZooKeeper: no connection yet: %w", registry.ErrUnreachable)
	}
	return trouble
}

// Err is nil while the ensemble can be reached and is the one it should be. Otherwise it says what is wrong, and wraps
// registry.ErrUnreachable; ErrEnsemble too while updates are frozen.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.link == nil:
		return unreachable(c.trouble)
	}
	return c.link.freeze
}

// Connected says whether there is a connection to an ensemble, if only to a frozen one. Of one that the other side has closed it knows
// before anybody has read that.
func (c *Client) Connected() bool {
	c.mu.Lock()
	l := c.link
	c.mu.Unlock()
	return l != nil && !l.isLost() && !l.hungUp()
}
