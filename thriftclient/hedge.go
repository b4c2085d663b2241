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
	var mu sync.Mutex // guards t, and what is running
	running := 0
	var all sync.WaitGroup
	all.Add(1) // ours: a hedge that begins late adds itself before we are done
	best, err := g.executor(t.method).WithContext(ctx).GetWithExecution(func(e failsafe.Execution[*hedged]) (*hedged, error) {
		mu.Lock()
		target, start := h, now
		if e.IsHedge() {
			start = time.Now()
			if target = g.other(t, start); target == nil {
				mu.Unlock()
				return &hedged{outcome: outcome{ending: unsent, err: ErrNoHosts}}, nil
			}
			g.pool.metrics.Observe(Event{Kind: Hedged, Method: t.method, Host: target.endpoint})
		}
		t.take(target)
		snapshot := *t
		running++
		all.Add(1)
		mu.Unlock()
		defer all.Done()

		one := &hedged{result: twin(t.result)}
		one.outcome = g.pool.attempt(e.Context(), &snapshot, one.result, target, start)
		mu.Lock()
		defer mu.Unlock()
		running--
		t.count(one.outcome)
		one.final = one.ending == answered || one.ending == unwritable || running == 0
		return one, nil
	})
	all.Done()
	all.Wait()
	switch {
	case best == nil || err != nil && ctx.Err() != nil: // cancelled from outside
		return outcome{ending: cancelled, sent: t.sends > 0, err: context.Cause(ctx)}
	case best.ending == answered && best.result != nil:
		reflect.ValueOf(t.result).Elem().Set(reflect.ValueOf(best.result).Elem())
	}
	return best.outcome
}

// other is a host for the hedge; nil if there is none but those that are being tried.
func (g *hedger) other(t *trial, now time.Time) *host {
	p := g.pool
	return p.choose.choose(p.set.Load(), p.at(now), t.tried, p.eject.panicking.Load())
}

// twin is an empty result of the same type.
func twin(result thrift.TStruct) thrift.TStruct {
	if result == nil {
		return nil
	}
	return reflect.New(reflect.TypeOf(result).Elem()).Interface().(thrift.TStruct)
}
