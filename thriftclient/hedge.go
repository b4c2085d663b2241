package thriftclient

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	failsafe "github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
)

// A hedge begins when an attempt has taken longer than 95 of 100 before it. The last thousand or so have a say, and nothing is
// hedged before twenty.
const (
	hedgeQuantile = 0.95
	hedgeMemory   = 1000
	hedgeFirst    = 20
)

// hedger sends a request to a second host when the first is slow, and takes the answer that comes first.
type hedger struct {
	pool *Pool
	mu   sync.Mutex
	of   map[string]failsafe.Executor[*hedged] // by method: each has its own idea of slow
}

// hedged is one of at most two attempts. Each has a result of its own, since both may be read at the same time.
type hedged struct {
	outcome
	result thrift.TStruct
	final  bool // nothing better is to be expected
}

func newHedger(p *Pool) *hedger { return &hedger{pool: p, of: map[string]failsafe.Executor[*hedged]{}} }

func (g *hedger) executor(method string) failsafe.Executor[*hedged] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.of[method]; ok {
		return e
	}
	p := g.pool
	budget := hedgeBudget{p.budget, p.now, func() { p.metrics.Observe(Event{Kind: Exhausted, Method: method}) }}
	e := failsafe.With(hedgepolicy.NewBuilderWithDelayQuantile[*hedged](hedgeQuantile, hedgeMemory, hedgeFirst).
		CancelIf(func(h *hedged, _ error) bool { return h != nil && h.final }).
		WithBudget(budget).Build())
	g.of[method] = e
	return e
}

// attempt is one attempt or two. When it returns, none of them is running: the arguments belong to the caller again.
func (g *hedger) attempt(ctx context.Context, t *trial, h *host, now time.Time) outcome {
	d := &duel{hedger: g, first: h, start: now, trial: trial{
		method: t.method, args: t.args, result: t.result, deadline: t.deadline, repeat: t.repeat,
		tried: t.tried, attempts: t.attempts, sends: t.sends, last: t.last,
	}}
	best, _ := g.executor(t.method).WithContext(ctx).GetWithExecution(d.attempt)
	d.end()
	t.tried, t.attempts, t.sends, t.last, t.rested = d.trial.tried, d.trial.attempts, d.trial.sends, d.trial.last, false
	if best == nil { // ctx was over before there was a result
		return outcome{ending: cancelled, sent: t.sends > 0, err: context.Cause(ctx)}
	}
	if best.ending == answered && best.result != nil {
		reflect.ValueOf(t.result).Elem().Set(reflect.ValueOf(best.result).Elem())
	}
	return best.outcome
}

// duel is what the attempts have in common.
type duel struct {
	*hedger
	first   *host
	start   time.Time
	running sync.WaitGroup

	mu      sync.Mutex
	trial   trial // a copy: the original need not be on the heap for those who never hedge
	count   int   // of those that are running
	started bool  // one of them has been
	over    bool  // none may begin any more
}

func (d *duel) attempt(e failsafe.Execution[*hedged]) (*hedged, error) {
	target, start, snapshot := d.begin(e.IsHedge())
	if target == nil {
		return &hedged{outcome: outcome{ending: unsent, err: ErrNoHosts}}, nil
	}
	defer d.running.Done()
	one := &hedged{result: twin(snapshot.result)}
	one.outcome = d.pool.attempt(e.Context(), &snapshot, one.result, target, start)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count--
	d.trial.count(one.outcome)
	one.final = one.ending == answered || one.ending == unwritable || d.count == 0
	return one, nil
}

// begin finds a host for an attempt; there is none if all are being tried, or if it comes too late.
func (d *duel) begin(hedge bool) (target *host, start time.Time, snapshot trial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return nil, start, trial{}
	}
	target, start = d.first, d.start
	if hedge {
		start = time.Now()
		if target = d.pool.claim(d.pool.set.Load(), d.pool.at(start), d.trial.tried); target == nil {
			return nil, start, trial{}
		}
		d.pool.metrics.Observe(Event{Kind: Hedged, Method: d.trial.method, Host: target.endpoint})
	}
	d.trial.take(target)
	d.trial.tried = append(d.trial.tried, target)
	d.count++
	d.started = true
	d.running.Add(1)
	return target, start, d.trial
}

// end waits for the loser, which has been interrupted.
func (d *duel) end() {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.running.Wait()
	if !d.started { // the first host was chosen for nothing
		d.first.load.drop()
		d.pool.eject.probed(d.first, false, d.pool.now())
	}
}

// twin is an empty result of the same type.
func twin(result thrift.TStruct) thrift.TStruct {
	if result == nil {
		return nil
	}
	return reflect.New(reflect.TypeOf(result).Elem()).Interface().(thrift.TStruct)
}
