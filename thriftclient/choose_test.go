package thriftclient

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bed is a chooser and hosts without servers: time passes when the test says so.
type bed struct {
	chooser *chooser
	ejector *ejector
	set     *hosts
	list    []*host
	now     instant
}

func newBed(t *rapid.T, balance Balance, weights []float64) *bed {
	source := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	b := &bed{chooser: newChooser(balance, 10*time.Second), ejector: newEjector(defaults(t).Ejection), now: instant(time.Hour)}
	b.chooser.random = source.Uint64
	b.ejector.random = source.Float64
	all := make([]candidate, len(weights))
	for i, w := range weights {
		all[i] = candidate{bareHost(t, fmt.Sprint(i)), w}
		b.list = append(b.list, all[i].host)
	}
	b.set = newHosts(all)
	b.ejector.replace(b.list, b.now)
	return b
}

// evenBed has hosts of equal weight.
func evenBed(t *rapid.T, balance Balance, least, most int) *bed {
	return newBed(t, balance, slices.Repeat([]float64{1}, rapid.IntRange(least, most).Draw(t, "hosts")))
}

func defaults(t *rapid.T) Options {
	o, err := Options{}.complete()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// bareHost is one that is never connected to.
func bareHost(t *rapid.T, name string) *host {
	h, err := newHost(name, 1<<20, func(context.Context, *host) (*connection, error) { return nil, ErrClosed }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// running is the calls in flight, the one that ends first at the head.
type running []ends

type ends struct {
	at, took instant
	host     *host
}

func (r running) Len() int           { return len(r) }
func (r running) Less(i, j int) bool { return r[i].at < r[j].at }
func (r running) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *running) Push(x any)        { *r = append(*r, x.(ends)) }
func (r *running) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// simulate has callers call one after the other, and counts the calls of each host. latency is how long a host takes.
func (b *bed) simulate(callers, calls int, latency func(*host) time.Duration) map[*host]int {
	counts := map[*host]int{}
	var flight running
	for n := range calls {
		if n >= callers {
			done := heap.Pop(&flight).(ends)
			b.now = done.at
			done.host.load.end(b.now, time.Duration(done.took), true)
		}
		b.now += instant(time.Microsecond) // the caller's own time
		h := b.chooser.choose(b.set, b.now, nil, false)
		h.load.begin(b.now)
		took := instant(latency(h))
		heap.Push(&flight, ends{b.now + took, took, h})
		counts[h]++
	}
	return counts
}

func weights(t *rapid.T) []float64 {
	return rapid.SliceOfN(rapid.Map(rapid.IntRange(1, 10), func(n int) float64 { return float64(n) }), 2, 12).Draw(t, "weights")
}

func TestTheShareOfTheLoadFollowsTheWeight(t *testing.T) {
	for balance, callers := range map[Balance]int{LeastLoaded: 1, Random: 1, RoundRobin: 1} {
		rapid.Check(t, func(t *rapid.T) {
			w := weights(t)
			b := newBed(t, balance, w)
			noise := rand.New(rand.NewPCG(1, 2))
			const calls = 4000
			counts := b.simulate(callers, calls, func(*host) time.Duration {
				return time.Millisecond + time.Duration(noise.IntN(50))*time.Microsecond
			})
			sum := 0.0
			for _, x := range w {
				sum += x
			}
			for i, h := range b.list {
				got, want := float64(counts[h])/calls, w[i]/sum
				if math.Abs(got-want) > 0.1*want+0.03 {
					t.Fatalf("balance %d: host %d of weights %v has %.3f of the calls, want %.3f", balance, i, w, got, want)
				}
			}
		})
	}
}

func TestUnderLoadTheCallsInFlightFollowTheWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := weights(t)
		b := newBed(t, LeastLoaded, w)
		callers := 8 * len(w)
		const calls = 4000
		counts := b.simulate(callers, calls, func(*host) time.Duration { return time.Millisecond })
		sum := 0.0
		for _, x := range w {
			sum += x
		}
		for i, h := range b.list {
			got, want := float64(counts[h])/calls, w[i]/sum
			if got < 0.5*want-0.01 || got > 1.5*want+0.01 {
				t.Fatalf("host %d of weights %v has %.3f of the calls of %d callers, want %.3f", i, w, got, callers, want)
			}
		}
	})
}

func TestASlowHostIsStarvedInProportion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, LeastLoaded, 3, 12)
		n := len(b.list)
		slower := rapid.IntRange(3, 200).Draw(t, "times slower")
		callers := rapid.IntRange(1, 4*n).Draw(t, "callers")
		slow := b.list[0]
		const calls = 4000
		counts := b.simulate(callers, calls, func(h *host) time.Duration {
			if h == slow {
				return time.Duration(slower) * time.Millisecond
			}
			return time.Millisecond
		})
		// All callers may have met it once, before anything is known of it. After that its share is at most as much less as it is slower.
		if got, most := counts[slow], callers+2*calls/n/slower; got > most {
			t.Fatalf("of %d hosts one is %d times slower, and has %d of %d calls, want at most %d", n, slower, got, calls, most)
		}
	})
}

func TestAHostThatHangsIsAvoidedBeforeItsFirstDeadline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, LeastLoaded, 3, 12)
		n := len(b.list)
		b.simulate(2*n, 1500, func(*host) time.Duration { return time.Millisecond })
		hung := b.list[0]
		counts := b.simulate(2*n, 1500, func(h *host) time.Duration {
			if h == hung {
				return time.Hour
			}
			return time.Millisecond
		})
		if counts[hung] > 4*n {
			t.Fatalf("%d of %d callers hang", counts[hung], 2*n)
		}
	})
}

func TestANewHostStartsSlowly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, Random, 3, 12)
		n := len(b.list)
		fresh := b.list[0]
		fresh.since.Store(int64(b.now))
		counts := b.simulate(1, 1000, func(*host) time.Duration { return time.Millisecond }) // a second: a tenth of the slow start
		if got, most := counts[fresh], 1000/n/2; got > most {
			t.Fatalf("a new host among %d has %d of 1000 calls in its first second", n, got)
		}
		b.now += instant(10 * time.Second)
		counts = b.simulate(1, 4000, func(*host) time.Duration { return time.Millisecond })
		if got, least := counts[fresh], 4000/n*7/10; got < least {
			t.Fatalf("a host that is no longer new has %d of 4000 calls among %d", got, n)
		}
	})
}

func TestNoHostIsTriedTwiceWhileThereAreOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := weights(t)
		b := newBed(t, Balance(rapid.IntRange(0, 2).Draw(t, "balance")), w)
		for _, h := range b.list {
			if rapid.Bool().Draw(t, "ejected") {
				b.ejector.eject(h, b.now)
			}
		}
		var tried []*host
		healthy := len(b.list) - b.ejector.gone
		for k := range b.list {
			h := b.chooser.choose(b.set, b.now, tried, false)
			if h == nil || contains(tried, h) {
				t.Fatalf("choice %d of %d: %v", k, len(b.list), h)
			}
			if k < healthy && !h.health.in() {
				t.Fatalf("an ejected host is choice %d, with %d healthy ones", k, healthy)
			}
			tried = append(tried, h)
		}
		if h := b.chooser.choose(b.set, b.now, tried, false); h != nil {
			t.Fatalf("all were tried, and still there is %s", h.endpoint)
		}
	})
}

// When most hosts of a large set are dead, half of them may not be ejected. A call must not use up its attempts on those.
func TestAmongManyThatHaveFailedTheHealthyAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, LeastLoaded, 500, 1000)
		for i, h := range b.list {
			if i%5 != 0 {
				h.health.fail(b.now)
			}
		}
		for range 100 {
			var tried []*host
			for {
				h := b.chooser.choose(b.set, b.now, tried, false)
				if h.health.failures.Load() == 0 {
					break
				}
				if tried = append(tried, h); len(tried) == 5 {
					t.Fatalf("%d hosts that have just failed were chosen one after the other, and every fifth is healthy", len(tried))
				}
			}
		}
	})
}

func TestASubsetIsStableAndEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(20, 200).Draw(t, "members")
		size := rapid.IntRange(1, 20).Draw(t, "size")
		client := rapid.String().Draw(t, "client")
		members := make([]Member, n)
		for i := range members {
			members[i] = Member{Endpoint: fmt.Sprintf("10.0.0.%d:80", i)}
		}
		before := subset(tidy(members), size, client)
		if len(before) != size && n > size {
			t.Fatalf("%d of %d, want %d", len(before), n, size)
		}
		gone := rapid.IntRange(0, n-1).Draw(t, "gone")
		after := subset(tidy(append(members[:gone:gone], members[gone+1:]...)), size, client)
		kept := 0
		for _, m := range after {
			for _, old := range before {
				if m.Endpoint == old.Endpoint {
					kept++
				}
			}
		}
		if kept < len(before)-1 {
			t.Fatalf("one of %d has gone, and only %d of %d stay", n, kept, len(before))
		}
	})
}
