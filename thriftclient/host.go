package thriftclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/puddle/v2"
)

// host is one server: its connections, its load and its health. It lives from the set that first names it until its last call
// is over.
type host struct {
	endpoint string
	most     int64        // connections
	since    atomic.Int64 // instant when its slow start began; 0: it is as good as any
	load     load
	health   health
	pool     *puddle.Pool[*connection]
	connect  func(ctx context.Context, h *host) (*connection, error)
	idle     idleOnly
	warming  atomic.Bool   // a connection is being made to be kept ready
	open     *atomic.Int64 // connections, those being made and those being closed included; shared with a predecessor that is drained

	mu      sync.Mutex
	live    map[*connection]struct{} // every one that is open
	waiters map[*waiter]struct{}     // calls that wait for one
}

type waiter struct{ leave context.CancelCauseFunc }

func newHost(endpoint string, most int, connect func(context.Context, *host) (*connection, error), predecessor *host) (*host, error) {
	h := &host{
		endpoint: endpoint, most: int64(most), connect: connect, idle: idleOnly{context.Background()}, open: &atomic.Int64{},
		live: map[*connection]struct{}{}, waiters: map[*waiter]struct{}{},
	}
	if predecessor != nil {
		h.open = predecessor.open
	}
	var err error
	// puddle holds a place before it constructs, and until it has destroyed what was acquired. So nothing is ever released that is to
	// be closed, nor is Reset called: of those the place is free while the connection is still open.
	h.pool, err = puddle.NewPool(&puddle.Config[*connection]{Constructor: h.construct, Destructor: h.destroy, MaxSize: int32(most)})
	return h, err
}

// busy says whether one more call would have to wait for a connection.
func (h *host) busy() bool { return h.load.inflight.Load() >= h.most }

// idleOnly is a context in which no connection is made: TryAcquire takes an idle one or none, and costs no allocation.
type idleOnly struct{ context.Context }

type idleOnlyKey struct{}

var errNotIdle = errors.New("no idle connection")

func (*idleOnly) Value(key any) any {
	if _, ok := key.(idleOnlyKey); ok {
		return true
	}
	return nil
}

func (h *host) construct(ctx context.Context) (*connection, error) {
	if ctx.Value(idleOnlyKey{}) != nil {
		return nil, errNotIdle
	}
	if h.open.Add(1) > h.most { // a predecessor has some yet
		h.open.Add(-1)
		return nil, errLeft
	}
	c, err := h.connect(ctx, h)
	if err != nil {
		h.open.Add(-1)
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live[c] = struct{}{}
	return c, nil
}

func (h *host) destroy(c *connection) {
	c.close()
	h.open.Add(-1)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, c)
}

// acquire takes an idle connection, the one that was used last, else makes one if the limit allows it, else waits for one until the
// first deadline. What is done with it ends at the second. Connections that the server has closed meanwhile are not counted.
func (h *host) acquire(ctx context.Context, now, connected, answered time.Time) (*puddle.Resource[*connection], time.Time, error) {
	for {
		r, err := h.pool.TryAcquire(&h.idle)
		if err != nil {
			r, err = h.await(ctx, connected)
			now = time.Now()
		}
		if err != nil || r.Value().ready(now, answered) {
			return r, now, err
		}
		r.Destroy()
	}
}

// await makes a connection or waits for one. It gives up when the host is ejected or removed: others may have one.
func (h *host) await(ctx context.Context, deadline time.Time) (*puddle.Resource[*connection], error) {
	waiting, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		waiting, cancel = context.WithDeadline(waiting, deadline)
		defer cancel()
	}
	w := &waiter{leave: leave}
	h.wait(w)
	defer h.left(w)
	r, err := h.pool.Acquire(waiting)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, puddle.ErrClosedPool), errors.Is(context.Cause(waiting), errLeft):
		return nil, errLeft
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case waiting.Err() != nil:
		return nil, fmt.Errorf("wait for a connection: %w", waiting.Err())
	}
	return nil, err
}

func (h *host) wait(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiters[w] = struct{}{}
}

func (h *host) left(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters, w)
}

// abandon sends those who wait for a connection to other hosts, and closes what is idle.
func (h *host) abandon() {
	h.mu.Lock()
	for w := range h.waiters {
		w.leave(errLeft)
	}
	h.mu.Unlock()
	for _, r := range h.pool.AcquireAllIdle() {
		r.Destroy()
	}
}

// interrupt ends the calls that are running.
func (h *host) interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.live {
		c.interrupt()
	}
}

// sweep closes connections that are idle for too long, too old or dead, but keeps some ready.
func (h *host) sweep(now time.Time, idle time.Duration, warm int) {
	resources := h.pool.AcquireAllIdle() // the one used last first
	for i := range resources {
		r := resources[len(resources)-1-i]
		r.Value().wire.SetDeadline(time.Time{}) // else one cannot even look; an error shows there
		unused := idle > 0 && now.Sub(r.Value().used) > jitter(idle, 0.1) && len(resources)-1-i >= warm
		if unused || r.Value().expired(now) || !r.Value().usable() {
			r.Destroy()
		} else {
			r.ReleaseUnused()
		}
	}
}

// Host is what a pool thinks of one of its hosts.
type Host struct {
	Endpoint    string
	Weight      float64       // its share of the calls, where 1 is the mean
	State       string        // in, new, suspect, ejected, due (for a probe) or probing
	InFlight    int           // calls
	Latency     time.Duration // moving average that follows peaks; 0: unknown
	Connections int           // open ones and those being made
	Idle        int           // of them
	Failures    int           // in a row
	Good, Bad   int64         // answers, and failures, since it has been in the set
}

func (h *host) describe(weight float64, now instant) Host {
	stat := h.pool.Stat()
	d := Host{
		Endpoint: h.endpoint, Weight: weight, State: "in",
		InFlight:    int(h.load.inflight.Load()),
		Latency:     time.Duration(h.load.latency(now)),
		Connections: int(stat.TotalResources()), Idle: int(stat.IdleResources()),
		Failures: int(h.health.failures.Load()),
		Good:     h.health.good.Load(), Bad: h.health.bad.Load(),
	}
	switch state := h.health.state.Load(); {
	case state == out:
		d.State = "ejected"
	case state == due:
		d.State = "due"
	case state == probing:
		d.State = "probing"
	case h.health.suspect(now):
		d.State = "suspect"
	case h.since.Load() != 0:
		d.State = "new"
	}
	return d
}
