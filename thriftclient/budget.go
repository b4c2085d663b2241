package thriftclient

import (
	"sync"
	"sync/atomic"
	"time"

	failsafe "github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/budget"
)

// The budget of additional attempts, Finagle's: a fifth of the calls of the last ten seconds, and ten a second besides.
const (
	budgetShare   = 0.2
	budgetReserve = 10 // a second
	budgetWindow  = 10 // seconds
)

// allowance bounds retries and hedges together, so that they never become the load that keeps the servers down. What failed before
// it was sent costs the servers nothing, and is not counted.
type allowance struct {
	second  atomic.Int64 // the one that the current bucket is of
	buckets [budgetWindow]struct{ calls, spent atomic.Int64 }
	mu      sync.Mutex // guards the turn of the second, and spending
}

var _ budget.Budget = (*allowance)(nil)

// call counts one of the application's.
func (a *allowance) call(now instant) {
	second := int64(now) / int64(time.Second)
	if a.second.Load() != second {
		a.mu.Lock()
		a.roll(second)
		a.mu.Unlock()
	}
	// At the turn of a second one may be counted in the wrong one: that does not matter.
	a.buckets[second%budgetWindow].calls.Add(1)
}

// take asks for one more attempt.
func (a *allowance) take(now instant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	second := int64(now) / int64(time.Second)
	a.roll(second)
	calls, spent := a.sums()
	if float64(spent+1) > budgetShare*float64(calls)+budgetReserve*budgetWindow {
		return false
	}
	a.buckets[second%budgetWindow].spent.Add(1)
	return true
}

// roll empties the buckets whose seconds are over. The caller has the lock.
func (a *allowance) roll(second int64) {
	for s := max(a.second.Load(), second-budgetWindow) + 1; s <= second; s++ {
		a.buckets[s%budgetWindow].calls.Store(0)
		a.buckets[s%budgetWindow].spent.Store(0)
	}
	a.second.Store(max(a.second.Load(), second))
}

func (a *allowance) sums() (calls, spent int64) {
	for i := range a.buckets {
		calls += a.buckets[i].calls.Load()
		spent += a.buckets[i].spent.Load()
	}
	return calls, spent
}

// Rate is the share of additional attempts of the last ten seconds.
func (a *allowance) Rate() float64 {
	calls, spent := a.sums()
	return float64(spent) / float64(max(1, calls))
}

// hedgeBudget is what failsafe-go asks before it hedges: our allowance, and a word to those who count.
type hedgeBudget struct {
	*allowance
	now       func() instant
	exhausted func()
}

func (hedgeBudget) RecordExecution()         {} // the pool has counted the call
func (hedgeBudget) ReleaseExecution()        {}
func (hedgeBudget) ReleasePermit()           {} // spent is spent: the budget is one of rates
func (b hedgeBudget) TryAcquirePermit() bool { return b.take(b.now()) }

func (b hedgeBudget) OnBudgetExceeded(budget.ExecutionType, failsafe.ExecutionInfo) { b.exhausted() }
