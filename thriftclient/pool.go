package thriftclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// Pool is a thrift.TClient that sends each call to one of many servers. It is safe for concurrent use.
type Pool struct {
	options    Options
	client     thrift.TClient // the calls, in their middleware
	codec      *codec
	metrics    Metrics
	observed   bool      // by somebody
	epoch      time.Time // instants are since then
	repeatable map[string]bool
	repeatAll  bool
	choose     *chooser
	eject      *ejector
	budget     *allowance
	hedges     *hedger // nil: off

	certificates atomic.Bool // they are stale

	set    atomic.Pointer[hosts]
	closed atomic.Bool
	wake   chan struct{} // the tender has something to do

	first     chan struct{} // closed when the source has said something for the first time, be it an error
	good      chan struct{} // closed when there are hosts
	end       context.CancelFunc
	over      chan struct{} // closed with the pool
	tasks     sync.WaitGroup
	closeOnce sync.Once

	mu       sync.Mutex
	known    map[string]*host
	draining map[*host]bool // gone from the set, and not yet closed
	trouble  error          // the last one of the source
	heard    bool           // first is closed
}

var _ thrift.TClient = (*Pool)(nil)

// Open makes a pool of the hosts in a serverset file: a name such as discovery.user.prod, or a path. The file is followed: who
// joins it is used a moment later, who leaves it gets no new calls. A file that is not there is no error: calls fail with ErrNoHosts,
// or go to the Fallback, until it is. An error means that the options make no sense.
func Open(path string, o Options) (*Pool, error) {
	if path == "" {
		return nil, errors.New("thriftclient: a serverset without a name")
	}
	return OpenSource(File(path, o), o)
}

// OpenSource is Open for hosts that come from anywhere: Static ones, or any function that yields them.
func OpenSource(source Source, o Options) (*Pool, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	p := &Pool{
		options: o, codec: newCodec(o), metrics: o.Metrics, observed: o.Metrics != nil,
		epoch:  time.Now().Add(-time.Nanosecond),
		choose: newChooser(o.Balance, o.SlowStart), eject: newEjector(o.Ejection), budget: &allowance{},
		wake:  make(chan struct{}, 1),
		first: make(chan struct{}), good: make(chan struct{}), over: make(chan struct{}),
		known: map[string]*host{}, draining: map[*host]bool{},
	}
	if p.metrics == nil {
		p.metrics = nobody{}
	}
	p.repeatable, p.repeatAll = o.idempotent()
	if o.Hedge {
		p.hedges = newHedger(p)
	}
	p.set.Store(newHosts(nil))
	p.client = thrift.WrapClient(thrift.WrappedTClient{Wrapped: p.call}, o.Middleware...)
	if len(o.Fallback) > 0 {
		members, err := parseEndpoints(o.Fallback)
		if err != nil {
			return nil, err
		}
		p.replace(members)
	}
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	p.tasks.Go(func() { p.follow(ctx, source) })
	p.tasks.Go(func() { p.tend(ctx) })
	return p, nil
}

// Call sends one request and waits for its answer. Generated clients call it. Its errors are *CallError.
func (p *Pool) Call(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
	return p.client.Call(ctx, method, args, result)
}

// Wait waits until there are hosts to call.
func (p *Pool) Wait(ctx context.Context) error {
	select {
	case <-p.good:
		return nil
	case <-p.over:
		return ErrClosed
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.noHosts())
	}
}

// Hosts is what the pool thinks of each of its hosts, in the order of their endpoints.
func (p *Pool) Hosts() []Host {
	set := p.set.Load()
	described := make([]Host, len(set.all))
	for i, c := range set.all {
		described[i] = c.host.describe(c.weight, p.now())
	}
	return described
}

// Close lets the running calls finish, and no new ones begin. When ctx is over, it interrupts those that are left. The pool has
// no connection and no goroutine when it returns.
func (p *Pool) Close(ctx context.Context) error {
	p.closeOnce.Do(func() {
		p.closed.Store(true)
		close(p.over)
		p.end()
	})
	p.mu.Lock()
	for _, h := range p.known {
		p.drain(h)
	}
	clear(p.known)
	p.mu.Unlock()
	stop := context.AfterFunc(ctx, p.interrupt) // not before there is something to interrupt: ctx may be over already
	defer stop()
	p.tasks.Wait()
	return nil
}

// drain closes the connections of a host when their calls are over. The caller has the lock.
func (p *Pool) drain(h *host) {
	p.draining[h] = true
	p.tasks.Go(func() {
		h.abandon()
		h.pool.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.draining, h)
	})
}

// predecessor is a host of this endpoint that still has connections; nil if there is none. The caller has the lock.
func (p *Pool) predecessor(endpoint string) *host {
	for h := range p.draining {
		if h.endpoint == endpoint {
			return h
		}
	}
	return nil
}

// interrupt ends all calls.
func (p *Pool) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h := range p.draining {
		h.interrupt()
	}
}

func (p *Pool) now() instant { return p.at(time.Now()) }

func (p *Pool) at(t time.Time) instant { return instant(t.Sub(p.epoch)) }

// noHosts says why there are none.
func (p *Pool) noHosts() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble != nil {
		return fmt.Errorf("%w: %w", ErrNoHosts, p.trouble)
	}
	return ErrNoHosts
}

// follow takes over what the source says, until the pool is closed.
func (p *Pool) follow(ctx context.Context, source Source) {
	for members, err := range source(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err == nil && len(members) > 0 {
			p.replace(members)
		}
		p.note(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hear() // who has nothing to say has said so
}

// hear lets calls know that the source has spoken. The caller has the lock.
func (p *Pool) hear() {
	if !p.heard {
		p.heard = true
		close(p.first)
	}
}

// note remembers what is wrong with the source, and logs it when that changes.
func (p *Pool) note(trouble error) {
	p.mu.Lock()
	changed := (trouble == nil) != (p.trouble == nil) || trouble != nil && trouble.Error() != p.trouble.Error()
	p.trouble = trouble
	p.hear()
	p.mu.Unlock()
	switch {
	case !changed:
	case trouble != nil:
		p.options.Logger.Warn("hosts are not up to date, the last good ones stay", "err", trouble)
	default:
		p.options.Logger.Info("hosts are up to date again")
	}
}

// replace makes members the hosts. Those who stay keep their connections and what is known of them.
func (p *Pool) replace(members []Member) {
	members = subset(tidy(members), p.options.Subset, p.options.ClientID)
	if len(members) == 0 {
		return
	}
	for _, h := range p.exchange(members) {
		p.readmitted(h)
	}
	p.rouse()
}

// exchange does the part of replace that wants the lock. It says which hosts are back because so many others have gone.
func (p *Pool) exchange(members []Member) (readmitted []*host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return nil
	}
	now := p.now()
	known := make(map[string]*host, len(members))
	all := make([]candidate, 0, len(members))
	list := make([]*host, 0, len(members))
	for _, m := range members {
		h := p.known[m.Endpoint]
		if h == nil {
			var err error
			if h, err = newHost(m.Endpoint, p.options.MaxPerHost, p.connect, p.predecessor(m.Endpoint)); err != nil {
				panic(err) // MaxPerHost was checked
			}
			if len(p.known) > 0 { // the first ones have nobody to leave the calls to
				h.since.Store(int64(now))
			}
		}
		known[m.Endpoint] = h
		all = append(all, candidate{h, float64(m.Weight)})
		list = append(list, h)
	}
	readmitted = p.eject.replace(list, now)
	p.set.Store(newHosts(all))
	for endpoint, h := range p.known {
		if known[endpoint] == nil {
			p.drain(h)
		}
	}
	if len(p.known) == 0 {
		close(p.good)
	}
	p.known = known
	return readmitted
}

// rouse wakes the tender.
func (p *Pool) rouse() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}
