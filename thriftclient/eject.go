package thriftclient

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The states of a host. Only the ejector moves it from one to another, but for due to probing, which is a race for one call.
const (
	in      int32 = iota
	out           // left alone
	due           // a connection could be made: one call may try it
	probing       // it is being tried
)

const (
	suspicion   = 100 * time.Millisecond // after a failure others are preferred for so long; twice as long for each further one
	rateWindow  = 10                     // seconds that a success rate is of
	rateCalls   = 20                     // calls in it, at least
	anyoneProbe = time.Second            // after which a call that may not be sent twice, or has no answer, will do as a probe
)

// health is what is known of the failures of one host.
type health struct {
	state     atomic.Int32
	failures  atomic.Int32 // in a row
	suspicion atomic.Int64 // instant until which others are preferred
	good, bad atomic.Int64 // of all time

	// The rest is guarded by ejector.mu.
	until instant // end of the ejection, or when it became due
	times int     // ejections, until it has been calm for long enough
	calm  instant // when times is forgotten
	rated bool    // marks hold something
	marks [rateWindow]tally
	rate  tally // of the last ten seconds
}

type tally struct{ good, bad int64 }

func (h *health) in() bool { return h.state.Load() == in }

func (h *health) suspect(now instant) bool { return h.suspicion.Load() > int64(now) }

// succeed takes note of an answer. It says whether that was the answer to the probe.
func (h *health) succeed() (probed bool) {
	h.good.Add(1)
	if h.failures.Load() != 0 {
		h.failures.Store(0)
		h.suspicion.Store(0)
	}
	return h.state.Load() == probing
}

// fail takes note of a failure, and says how many that are in a row.
func (h *health) fail(now instant) int {
	h.bad.Add(1)
	n := h.failures.Add(1)
	h.suspicion.Store(int64(now) + int64(suspicion)<<min(n-1, 6))
	return int(n)
}

// ejector decides how long which hosts are left alone. Its promise: never more than the share of them at a time.
type ejector struct {
	Ejection
	random func() float64 // rand.Float64 but in tests

	panicking atomic.Bool
	waiting   atomic.Int32 // hosts that are due

	mu    sync.Mutex
	hosts []*host // the set
	gone  int     // how many of them are not in
	tick  int64   // seconds that were rated
}

func newEjector(e Ejection) *ejector { return &ejector{Ejection: e, random: rand.Float64} }

// replace tells it the set. Hosts that are gone from it are forgotten; were they many, the rest may be more ejected than is
// allowed, and those who would have come back first are.
func (e *ejector) replace(set []*host, now instant) (readmitted []*host) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hosts = set
	e.gone = 0
	for _, h := range set {
		if !h.health.in() {
			e.gone++
		}
	}
	for e.gone > e.allowed() {
		var first *host
		for _, h := range set {
			if !h.health.in() && (first == nil || h.health.until < first.health.until) {
				first = h
			}
		}
		e.admit(first, now)
		readmitted = append(readmitted, first)
	}
	e.count()
	return readmitted
}

func (e *ejector) allowed() int {
	if len(e.hosts) < 2 {
		return 0
	}
	return int(e.Share * float64(len(e.hosts)))
}

// count brings what the choosers look at up to date. The caller has the lock.
func (e *ejector) count() {
	n := int32(0)
	for _, h := range e.hosts {
		if h.health.state.Load() == due {
			n++
		}
	}
	e.waiting.Store(n)
	e.panicking.Store(e.gone > 0 && float64(len(e.hosts)-e.gone) < e.Panic*float64(len(e.hosts)))
}

// failed is told of n failures in a row. It says whether the host was ejected for them.
func (e *ejector) failed(h *host, n int, now instant) bool {
	if h.health.state.Load() == probing || e.Failures > 0 && n >= e.Failures {
		return e.eject(h, now)
	}
	return false
}

// eject leaves a host alone, if that is allowed; one whose probe has failed for longer than before.
func (e *ejector) eject(h *host, now instant) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch h.health.state.Load() {
	case out, due:
		return false
	case in:
		if !e.has(h) || e.gone >= e.allowed() {
			return false
		}
		e.gone++
	}
	e.prolong(h, now)
	e.count()
	return true
}

func (e *ejector) has(h *host) bool {
	for _, known := range e.hosts {
		if known == h {
			return true
		}
	}
	return false
}

// prolong leaves a host alone for the next of its times. The caller has the lock.
func (e *ejector) prolong(h *host, now instant) {
	h.health.times++
	d := min(e.Base<<min(h.health.times-1, 20), e.Max)
	d = time.Duration(float64(d) * (0.8 + 0.4*e.random()))
	h.health.until = now + instant(d)
	h.health.calm = h.health.until + instant(max(2*d, 10*time.Second))
	h.health.state.Store(out)
}

// admit takes a host back as one that is new. The caller has the lock.
func (e *ejector) admit(h *host, now instant) {
	e.gone--
	h.health.failures.Store(0)
	h.health.suspicion.Store(0)
	h.health.rated, h.health.rate = false, tally{} // what was before is forgiven
	h.load.forget()
	h.since.Store(int64(now))
	h.health.calm = max(h.health.calm, now+instant(10*time.Second))
	h.health.state.Store(in)
}

// probed is told how the probe went: it has brought an answer, or it was given up. (If it failed, see failed.)
func (e *ejector) probed(h *host, ok bool, now instant) (readmitted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.health.state.Load() != probing || !e.has(h) { // a host that was removed meanwhile is nobody's
		return false
	}
	if ok {
		e.admit(h, now)
	} else {
		h.health.state.Store(due)
	}
	e.count()
	return ok
}

// expired are the hosts whose ejection is over; next is when that is so of another one, 0 for never.
func (e *ejector) expired(now instant) (over []*host, next instant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hosts {
		switch {
		case h.health.state.Load() != out:
		case h.health.until <= now:
			over = append(over, h)
		case next == 0 || h.health.until < next:
			next = h.health.until
		}
	}
	return over, next
}

// reached is told whether a connection could be made to a host whose ejection is over.
func (e *ejector) reached(h *host, ok bool, now instant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.health.state.Load() != out {
		return
	}
	if ok {
		h.health.until = now
		h.health.state.Store(due)
	} else {
		e.prolong(h, now)
	}
	e.count()
}

// probe is a host that waits for a call to try it. It is for this caller alone.
func (e *ejector) probe(now instant, suited bool, tried []*host) *host {
	if e.waiting.Load() == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.hosts {
		if h.health.state.Load() != due || !suited && now-h.health.until < instant(anyoneProbe) || contains(tried, h) {
			continue
		}
		h.health.state.Store(probing)
		e.count()
		return h
	}
	return nil
}

// rate looks at the last ten seconds, once a second: which hosts fail far more often than the others?
func (e *ejector) rate(now instant) (outliers []*host) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tick++
	var all tally
	for _, h := range e.hosts {
		total := tally{h.health.good.Load(), h.health.bad.Load()}
		if !h.health.rated {
			h.health.rated, h.health.marks = true, repeat(total)
		}
		mark := &h.health.marks[e.tick%rateWindow]
		h.health.rate = tally{total.good - mark.good, total.bad - mark.bad}
		*mark = total
		all.good += h.health.rate.good
		all.bad += h.health.rate.bad
		if h.health.times > 0 && h.health.in() && now > h.health.calm {
			h.health.times = 0
		}
	}
	for _, h := range e.hosts {
		own := h.health.rate
		others := tally{all.good - own.good, all.bad - own.bad}
		if e.Below > 0 && h.health.in() && own.calls() >= rateCalls && others.calls() >= rateCalls && own.share() < others.share()-e.Below {
			outliers = append(outliers, h)
		}
	}
	return outliers
}

func repeat(t tally) (marks [rateWindow]tally) {
	for i := range marks {
		marks[i] = t
	}
	return marks
}

func (t tally) calls() int64   { return t.good + t.bad }
func (t tally) share() float64 { return float64(t.good) / float64(max(1, t.calls())) }
