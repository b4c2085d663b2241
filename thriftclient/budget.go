package thriftclient

import (
	"sync"
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
	mu      sync.Mutex
	second  int64 // the one that the current bucket is of
	buckets [budgetWindow]struct{ calls, spent int64 }
	calls   int64 // sums over the buckets
	spent   int64
}

var _ budget.Budget = (*allowance)(nil)

// call counts one of the application's.
func (a *allowance) call(now instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(now)
	a.buckets[a.second%budgetWindow].calls++
	a.calls++
}

// take asks for one more attempt.
func (a *allowance) take(now instant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(now)
	if float64(a.spent+1) > budgetShare*float64(a.calls)+budgetReserve*budgetWindow {
		return false
	}
	a.buckets[a.second%budgetWindow].spent++
	a.spent++
	return true
}

// roll empties the buckets whose seconds are over.
func (a *allowance) roll(now instant) {
	second := int64(now) / int64(time.Second)
	for a.second < second {
		if second-a.second > budgetWindow {
			a.second = second - budgetWindow
		}
		a.second++
		b := &a.buckets[a.second%budgetWindow]
		a.calls -= b.calls
		a.spent -= b.spent
		b.calls, b.spent = 0, 0
	}
}

// Rate is the share of additional attempts of the last ten seconds.
func (a *allowance) Rate() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return float64(a.spent) / float64(max(1, a.calls))
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
