package thriftclient

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"sync/atomic"
	"time"
)

// Balance is how a host is chosen for a call.
type Balance int

const (
	// LeastLoaded draws two hosts and takes the one with the smaller product of latency (peak EWMA) and calls in flight: the
	// power of two choices, as in Finagle.
	LeastLoaded Balance = iota
	// Random draws one host.
	Random
	// RoundRobin takes one after the other.
	RoundRobin
)

func (b Balance) valid() bool { return b >= LeastLoaded && b <= RoundRobin }

const (
	draws     = 4    // tries to draw a host that may be used, before looking for one
	looks     = 32   // further hosts to look at when those so far have no connection to spare, or have just failed
	tie       = 1.25 // loads that differ by less are equal: else the noise of measuring would decide, and not the weight
	slowShare = 0.1  // of its weight is what a new host begins with
	golden    = 0x9E3779B97F4A7C15
)

// candidate is a host and its weight in a set, where the mean weight is 1.
type candidate struct {
	host   *host
	weight float64
}

// hosts is one state of the set. It never changes.
type hosts struct {
	all    []candidate
	bounds []float64 // running sums of the weights; nil if all are equal
}

// newHosts makes a set of candidates whose weights may have any unit.
func newHosts(all []candidate) *hosts {
	sum := 0.0
	for _, c := range all {
		sum += c.weight
	}
	set := &hosts{all: all}
	even := true
	for i := range all {
		all[i].weight *= float64(len(all)) / sum
		even = even && math.Abs(all[i].weight-1) < 1e-9
	}
	if !even {
		set.bounds = make([]float64, len(all))
		running := 0.0
		for i, c := range all {
			running += c.weight
			set.bounds[i] = running
		}
	}
	return set
}

// at is the candidate at a random point, given as a whole number that may be anything: heavier ones have more points.
func (s *hosts) at(point uint64) int {
	share := float64(point>>11) / (1 << 53)
	if s.bounds == nil {
		return int(share * float64(len(s.all)))
	}
	return min(sort.SearchFloat64s(s.bounds, share*s.bounds[len(s.bounds)-1]), len(s.all)-1)
}

// chooser chooses. Its state is that of round robin.
type chooser struct {
	balance   Balance
	slowStart time.Duration
	turn      atomic.Uint64
	random    func() uint64 // rand.Uint64 but in tests
}

func newChooser(b Balance, slowStart time.Duration) *chooser {
	return &chooser{balance: b, slowStart: slowStart, random: rand.Uint64}
}

// choose picks a host that is not among those tried: one that is not ejected, else, as a last resort, any. It is nil only for a
// set of none, or when all were tried.
func (c *chooser) choose(set *hosts, now instant, tried []*host, panicking bool) *host {
	if len(set.all) == 0 {
		return nil
	}
	first := c.draw(set, now, tried, panicking, -1)
	if first < 0 {
		return lastResort(set, c.random(), tried)
	}
	if c.balance != LeastLoaded || len(set.all) == 1 {
		return set.all[first].host
	}
	second := c.draw(set, now, tried, panicking, first)
	if second < 0 {
		return set.all[first].host
	}
	a, b := set.all[first], set.all[second]
	if lighter(b, a, now) {
		return b.host
	}
	return a.host
}

// lighter says whether a is so much less loaded than b that it should have the call, although b was drawn first.
func lighter(a, b candidate, now instant) bool {
	if x, y := a.host.health.suspect(now), b.host.health.suspect(now); x != y {
		return y
	}
	x, y := a.host.load.latency(now), b.host.load.latency(now)
	if x == 0 { // nothing is known of it yet: as fast as the other one
		x = y
	}
	if y == 0 {
		y = max(x, 1)
	}
	x, y = max(x, a.host.load.silence(now), 1), max(y, b.host.load.silence(now), 1)
	x *= 1 + float64(a.host.load.inflight.Load())/a.weight
	y *= 1 + float64(b.host.load.inflight.Load())/b.weight
	return x*tie < y
}

// draw picks by weight alone a candidate that may be used and is not the one to be left out; -1 if there is none.
func (c *chooser) draw(set *hosts, now instant, tried []*host, panicking bool, except int) int {
	may := func(i int) bool {
		h := set.all[i].host
		return i != except && (panicking || h.health.in()) && !slices.Contains(tried, h)
	}
	fit := func(h *host) bool { return !h.busy() && (c.balance != LeastLoaded || !h.health.suspect(now)) }
	point := c.random()
	for range draws {
		i := c.next(set, point)
		if may(i) && fit(set.all[i].host) && c.warmedUp(set.all[i].host, now) {
			return i
		}
		point = c.random()
	}
	start, any := c.next(set, point), -1
	for k := range set.all {
		i := (start + k) % len(set.all)
		if !may(i) {
			continue
		}
		if fit(set.all[i].host) {
			return i
		}
		if any < 0 {
			any = i
		}
		if k > looks {
			break
		}
	}
	return any
}

// next is a random candidate, or that whose turn it is.
func (c *chooser) next(set *hosts, point uint64) int {
	if c.balance != RoundRobin {
		return set.at(point)
	}
	turn := c.turn.Add(1)
	if set.bounds == nil {
		return int(turn % uint64(len(set.all)))
	}
	return set.at(turn * golden) // multiples of the golden ratio go round evenly, heavier hosts more often
}

// warmedUp lets a new host through with a probability that grows with its age.
func (c *chooser) warmedUp(h *host, now instant) bool {
	since := h.since.Load()
	if since == 0 || c.slowStart <= 0 {
		return true
	}
	age := float64(now-instant(since)) / float64(c.slowStart)
	if age >= 1 {
		h.since.CompareAndSwap(since, 0)
		return true
	}
	return float64(c.random()>>11)/(1<<53) < max(slowShare, age)
}

// lastResort is any host that was not tried, ejected or not.
func lastResort(set *hosts, point uint64, tried []*host) *host {
	start := set.at(point)
	for k := range set.all {
		if h := set.all[(start+k)%len(set.all)].host; !slices.Contains(tried, h) {
			return h
		}
	}
	return nil
}
