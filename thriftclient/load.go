package thriftclient

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// decay is the time after which an old latency has lost most of its say (1/e is left), as in Finagle's peak EWMA.
const decay = 5 * time.Second

// instant is the time since the pool was opened. It is never zero for something that has happened.
type instant int64

// load is how busy one host is, as this client sees it: what it has in flight, and a moving average of its latency that jumps up
// to every peak and comes down slowly.
//
// A host that owes us answers is taken to be as slow as it has been silent. So one that hangs is avoided within the time that a
// healthy one needs for a few calls, long before the first deadline.
type load struct {
	inflight atomic.Int64
	busy     atomic.Int64 // instant when inflight last rose from none
	heard    atomic.Int64 // instant when an answer last came

	mu    sync.Mutex    // guards the writing of
	mean  atomic.Uint64 // bits of a float64, nanoseconds; 0: unknown
	stamp atomic.Int64  // instant that mean is of
}

// begin takes note of one more call in flight, and says how many there are.
func (l *load) begin(now instant) int64 {
	n := l.inflight.Add(1)
	if n == 1 {
		l.busy.Store(int64(now))
	}
	return n
}

// drop takes back a begin.
func (l *load) drop() { l.inflight.Add(-1) }

// end takes note of one call less in flight. What the host has answered says how fast it is; what it has not says that it is at
// least so slow.
func (l *load) end(now instant, took time.Duration, spoke bool) {
	if spoke {
		l.heard.Store(int64(now))
	}
	l.inflight.Add(-1)
	l.mu.Lock()
	defer l.mu.Unlock()
	mean, latest := l.latency(now), float64(took)
	switch {
	case latest >= mean:
		mean = latest
	case spoke:
		// latency has brought mean down already by the time that has passed; what it lost, the latest one fills up.
		mean += latest * (1 - left(now-instant(l.stamp.Load())))
		mean = max(mean, latest)
	default:
		return
	}
	l.mean.Store(math.Float64bits(mean))
	l.stamp.Store(int64(now))
}

// latency is the moving average as of now. It goes down while nothing is heard, so that a host that was slow is tried again.
func (l *load) latency(now instant) float64 {
	mean := math.Float64frombits(l.mean.Load())
	if mean == 0 {
		return 0
	}
	return mean * left(now-instant(l.stamp.Load()))
}

// left is the say that a latency has after some time.
func left(age instant) float64 {
	x := float64(age) / float64(decay)
	if x < 0.01 {
		return 1 - x // which is what exp is there, but for the fourth digit, and takes no time
	}
	return math.Exp(-x)
}

// silence is for how long the host owes us an answer without having given any.
func (l *load) silence(now instant) float64 {
	if l.inflight.Load() == 0 {
		return 0
	}
	return float64(max(0, int64(now)-max(l.busy.Load(), l.heard.Load())))
}

// forget makes it a host of which nothing is known.
func (l *load) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mean.Store(0)
}
