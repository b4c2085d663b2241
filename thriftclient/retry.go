package thriftclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

const (
	backoffFirst = 5 * time.Millisecond // before the second sending, at most: full jitter, twice as much for each further one
	backoffMost  = 250 * time.Millisecond
	unsentMost   = 100 // attempts of which nothing was sent
)

// trial is one call of the application, on its way through the hosts.
type trial struct {
	method       string
	args, result thrift.TStruct
	deadline     time.Time // of the whole call; zero: none
	repeat       bool      // it may be sent twice

	tried    []*host // in this round, and failed
	rounds   int
	attempts int
	sends    int  // attempts of which something was sent
	rested   bool // since the last one
	last     *host
}

// outcome is how one attempt went.
type outcome struct {
	ending ending
	sent   bool
	meta   thrift.ResponseMeta
	err    error
}

// call is Call without its middleware.
func (p *Pool) call(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
	start := time.Now()
	t := trial{method: method, args: args, result: result, repeat: p.repeatAll || p.repeatable[method]}
	if p.options.Timeout > 0 {
		t.deadline = start.Add(p.options.Timeout)
	}
	if d, ok := ctx.Deadline(); ok && (t.deadline.IsZero() || d.Before(t.deadline)) {
		t.deadline = d
	}
	p.budget.call(p.at(start))
	meta, err := p.run(ctx, &t, start)
	if err != nil {
		failure := &CallError{Method: method, Attempts: t.attempts, Sent: t.sends > 0, Err: err}
		if t.last != nil {
			failure.Host = t.last.endpoint
		}
		err = failure
	}
	if p.observed {
		p.metrics.Observe(Event{Kind: Called, Method: method, Took: time.Since(start), Err: err})
	}
	return meta, err
}

// run makes attempts until one has an answer, or none may be made any more.
func (p *Pool) run(ctx context.Context, t *trial, now time.Time) (thrift.ResponseMeta, error) {
	if err := p.begin(ctx, t); err != nil {
		return thrift.ResponseMeta{}, err
	}
	var o outcome
	for {
		h, err := p.pick(ctx, t, now)
		if err != nil && o.err != nil {
			err = fmt.Errorf("%w, after: %w", err, o.err)
		}
		if err != nil {
			return thrift.ResponseMeta{}, err
		}
		if t.repeat && p.hedges != nil {
			o = p.hedges.attempt(ctx, t, h, now)
		} else {
			t.take(h)
			o = p.attempt(ctx, t, t.result, h, now)
			t.count(o)
		}
		if o.ending == answered {
			return o.meta, o.err
		}
		if !p.again(ctx, t, o) {
			if errors.Is(o.err, errLeft) && p.closed.Load() {
				o.err = ErrClosed
			}
			return thrift.ResponseMeta{}, o.err
		}
		t.tried = append(t.tried, t.last)
		now = time.Now()
	}
}

// begin refuses a call that cannot succeed, and has the first ones wait until the source has said something.
func (p *Pool) begin(ctx context.Context, t *trial) error {
	if p.closed.Load() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if len(p.set.Load().all) > 0 {
		return nil
	}
	if !t.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, t.deadline)
		defer cancel()
	}
	select {
	case <-p.first:
	case <-p.over:
		return ErrClosed
	case <-ctx.Done():
		return errors.Join(p.noHosts(), context.Cause(ctx))
	}
	return nil
}

// pick chooses a host that was not tried in this round, and counts the call as one in flight there. When all were tried, it waits a
// moment and begins the next round.
func (p *Pool) pick(ctx context.Context, t *trial, now time.Time) (*host, error) {
	at := p.at(now)
	if h := p.eject.probe(at, t.repeat && t.result != nil, t.tried); h != nil {
		h.load.begin(at)
		return h, nil
	}
	set := p.set.Load()
	if len(set.all) == 0 {
		return nil, p.noHosts()
	}
	if h := p.claim(set, at, t.tried); h != nil {
		return h, nil
	}
	t.rounds++
	t.tried = t.tried[:0]
	if !t.rested {
		if err := p.pause(ctx, t, t.rounds); err != nil {
			return nil, err
		}
	}
	return p.claim(p.set.Load(), p.now(), nil), nil // a set that has had hosts is never without
}

// claims is how often to choose again when somebody else was faster to have the last connection of a host.
const claims = 3

// claim chooses a host and counts the call there; nil if all were tried.
func (p *Pool) claim(set *hosts, now instant, tried []*host) *host {
	for n := 1; ; n++ {
		h := p.choose.choose(set, now, tried, p.eject.panicking.Load())
		if h == nil || h.load.begin(now) <= h.most || n == claims {
			return h
		}
		h.load.drop()
	}
}

// again says whether there may be another attempt after this one, and waits for its time. What was not sent goes to another host at
// once, and only after all of them is there a pause.
func (p *Pool) again(ctx context.Context, t *trial, o outcome) bool {
	if o.ending == cancelled || o.ending == unwritable || p.closed.Load() || t.over() {
		return false
	}
	if !o.sent {
		return t.attempts < unsentMost && (t.rounds+1 < p.options.Attempts || t.others(p.set.Load()))
	}
	if !t.repeat || t.sends >= p.options.Attempts {
		return false
	}
	if !p.budget.take(p.now()) {
		p.metrics.Observe(Event{Kind: Exhausted, Method: t.method, Host: t.last.endpoint})
		return false
	}
	if p.pause(ctx, t, t.sends) != nil {
		return false
	}
	t.rested = true
	p.metrics.Observe(Event{Kind: Retried, Method: t.method, Host: t.last.endpoint, Err: o.err})
	clean(t.result)
	return true
}

// pause waits a random time, the longer the more often; it fails if there is not so much of it left.
func (p *Pool) pause(ctx context.Context, t *trial, times int) error {
	wait := rand.N(min(backoffFirst<<min(times-1, 10), backoffMost))
	if !t.deadline.IsZero() && time.Until(t.deadline) <= wait {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.over:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// others says whether there are hosts that were not tried in this round.
func (t *trial) others(set *hosts) bool {
	for _, c := range set.all {
		if c.host != t.last && !contains(t.tried, c.host) {
			return true
		}
	}
	return false
}

func (t *trial) over() bool { return !t.deadline.IsZero() && !time.Now().Before(t.deadline) }

func (t *trial) take(h *host) {
	t.attempts++
	t.rested = false
	t.last = h
}

func (t *trial) count(o outcome) {
	if o.sent {
		t.sends++
	}
}

// limits are the deadlines of the attempt that begins now: for a connection, and for all of it.
func (t *trial) limits(now time.Time, o *Options) (connected, answered time.Time) {
	if o.CallTimeout > 0 {
		answered = now.Add(o.CallTimeout)
		if !t.deadline.IsZero() && t.deadline.Before(answered) {
			answered = t.deadline
		}
		return answered, answered
	}
	if t.deadline.IsZero() {
		return t.deadline, t.deadline
	}
	half := now.Add(t.deadline.Sub(now) / 2)
	if t.repeat && t.sends+1 < o.Attempts && o.CallTimeout == 0 {
		return half, half
	}
	return half, t.deadline
}

// clean takes back what a broken answer has filled in.
func clean(result thrift.TStruct) {
	if v := reflect.ValueOf(result); v.Kind() == reflect.Pointer && !v.IsNil() {
		v.Elem().SetZero()
	}
}

func contains(all []*host, h *host) bool { return slices.Contains(all, h) }

// errLate says how long an attempt has waited.
func errLate(d time.Duration) error {
	return fmt.Errorf("no answer in %v: %w", d.Round(time.Millisecond), context.DeadlineExceeded)
}
