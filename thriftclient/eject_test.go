package thriftclient

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ejectorMachine does at random what a pool does, in any order that is possible.
type ejectorMachine struct {
	*bed
	made    int
	removed []*host // from the set, some of them with calls that are still running
}

func newMachine(t *rapid.T) *ejectorMachine {
	m := &ejectorMachine{bed: newBed(t, LeastLoaded, []float64{1})}
	m.ejector.Share = rapid.Float64Range(0, 1).Draw(t, "share")
	m.ejector.Panic = rapid.Float64Range(0, 1).Draw(t, "panic")
	m.replace(t)
	return m
}

func (m *ejectorMachine) replace(t *rapid.T) {
	var list []*host
	for _, h := range m.list {
		if rapid.Bool().Draw(t, "stays") {
			list = append(list, h)
		} else {
			m.removed = append(m.removed, h)
		}
	}
	for range rapid.IntRange(0, 6).Draw(t, "new hosts") {
		m.made++
		list = append(list, bareHost(t, fmt.Sprint("h", m.made)))
	}
	m.list = list
	m.ejector.replace(list, m.now)
}

func (m *ejectorMachine) any(t *rapid.T) *host {
	if len(m.list) == 0 {
		t.Skip("no hosts")
	}
	return m.list[rapid.IntRange(0, len(m.list)-1).Draw(t, "host")]
}

// late is a host whose call ends now: it may have been removed since the call began.
func (m *ejectorMachine) late(t *rapid.T) *host {
	if len(m.removed) > 0 && rapid.Bool().Draw(t, "removed") {
		return m.removed[rapid.IntRange(0, len(m.removed)-1).Draw(t, "host")]
	}
	return m.any(t)
}

func TestNeverMoreThanTheShareIsEjected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"replace": m.replace,
			"fail": func(t *rapid.T) {
				h := m.late(t)
				m.ejector.failed(h, h.health.fail(m.now), m.now)
			},
			"succeed": func(t *rapid.T) {
				h := m.late(t)
				if h.health.succeed() && m.ejector.probed(h, true, m.now) && !m.ejector.has(h) {
					t.Fatal("a host is back that is not in the set")
				}
			},
			"outlier": func(t *rapid.T) { m.ejector.eject(m.late(t), m.now) },
			"probe": func(t *rapid.T) {
				if h := m.ejector.probe(m.now, rapid.Bool().Draw(t, "may repeat"), nil); h != nil {
					if other := m.ejector.probe(m.now, true, nil); other == h {
						t.Fatal("two calls try one host")
					}
				}
			},
			"give up": func(t *rapid.T) { m.ejector.probed(m.late(t), false, m.now) },
			"reach": func(t *rapid.T) {
				over, _ := m.ejector.expired(m.now)
				for _, h := range over {
					m.ejector.reached(h, rapid.Bool().Draw(t, "reached"), m.now)
				}
			},
			"time": func(t *rapid.T) { m.now += instant(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "time")) },
			"rate": func(*rapid.T) { m.ejector.rate(m.now) },
			"":     m.check,
		})
	})
}

func (m *ejectorMachine) check(t *rapid.T) {
	gone, waiting := 0, 0
	for _, h := range m.list {
		if !h.health.in() {
			gone++
		}
		if h.health.state.Load() == due {
			waiting++
		}
	}
	if most := int(m.ejector.Share * float64(len(m.list))); gone > most || len(m.list) == 1 && gone > 0 {
		t.Fatalf("%d of %d hosts are ejected, at most %d may be", gone, len(m.list), most)
	}
	if gone != m.ejector.gone || waiting != int(m.ejector.waiting.Load()) {
		t.Fatalf("it counts %d ejected and %d due, there are %d and %d", m.ejector.gone, m.ejector.waiting.Load(), gone, waiting)
	}
	left := float64(len(m.list) - gone)
	if want := gone > 0 && left < m.ejector.Panic*float64(len(m.list)); m.ejector.panicking.Load() != want {
		t.Fatalf("%v of %d hosts are left, and panic is %v", left, len(m.list), !want)
	}
}

// A probe may be under way when its host leaves the set. Its answer must not make room for one ejection too many among those who stay.
func TestTheAnswerOfAHostThatHasLeftChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &ejectorMachine{bed: evenBed(t, LeastLoaded, 4, 20)}
		gone := m.list[0]
		m.ejector.eject(gone, m.now)
		m.now = gone.health.until
		m.ejector.reached(gone, true, m.now)
		if m.ejector.probe(m.now, true, nil) != gone {
			t.Fatal("the host is not tried")
		}
		m.list = m.list[1:]
		m.ejector.replace(m.list, m.now)
		if gone.health.succeed() && m.ejector.probed(gone, true, m.now) {
			t.Error("a host is back that is not in the set")
		}
		for _, h := range m.list {
			m.ejector.eject(h, m.now)
		}
		m.check(t)
	})
}

func TestInPanicEjectionIsIgnored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, Random, 2, 12)
		n := len(b.list)
		b.ejector.Share, b.ejector.Panic = 1, 0.5
		for i, h := range b.list {
			b.ejector.eject(h, b.now)
			if left := n - 1 - i; b.ejector.panicking.Load() != (2*left < n) {
				t.Fatalf("%d of %d are left: panic is %v", left, n, b.ejector.panicking.Load())
			}
		}
		seen := map[*host]bool{}
		for range 200 * n {
			seen[b.chooser.choose(b.set, b.now, nil, b.ejector.panicking.Load())] = true
		}
		if len(seen) != n {
			t.Fatalf("all of %d are ejected, and %d are asked", n, len(seen))
		}
	})
}

func TestEjectionsGrowWithJitterUpToALimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBed(t, LeastLoaded, []float64{1, 1})
		h := b.list[0]
		b.ejector.eject(h, b.now)
		for times := range 12 {
			lasts := time.Duration(h.health.until - b.now)
			mean := min(time.Second<<times, time.Minute)
			if lasts < mean*8/10-1 || lasts > mean*12/10+1 {
				t.Fatalf("ejection %d lasts %v, want %v give or take a fifth", times+1, lasts, mean)
			}
			b.now = h.health.until
			if over, _ := b.ejector.expired(b.now); len(over) != 1 {
				t.Fatal("it does not end")
			}
			b.ejector.reached(h, true, b.now)
			if b.ejector.probe(b.now, true, nil) != h || b.ejector.probe(b.now, true, nil) != nil {
				t.Fatal("one call and no other tries it")
			}
			if !b.ejector.failed(h, 1, b.now) {
				t.Fatal("the probe has failed, and the host is back")
			}
		}
	})
}

func TestAHostComesBackWhenItsProbeIsAnswered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBed(t, LeastLoaded, []float64{1, 1})
		h := b.list[0]
		b.ejector.eject(h, b.now)
		b.now = h.health.until
		b.ejector.reached(h, true, b.now)
		if b.ejector.probe(b.now, false, nil) != nil {
			t.Fatal("a call that may not be repeated is the first to try it")
		}
		if b.ejector.probe(b.now+instant(anyoneProbe), false, nil) != h {
			t.Fatal("nobody else has come, and it is not tried")
		}
		if !h.health.succeed() || !b.ejector.probed(h, true, b.now) || !h.health.in() || h.since.Load() != int64(b.now) {
			t.Fatal("it is not back, or does not start slowly")
		}
	})
}

func TestAHostThatFailsFarMoreOftenThanOthersIsAnOutlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := evenBed(t, LeastLoaded, 3, 10)
		own, others := rapid.IntRange(0, 100).Draw(t, "own failures of 100"), rapid.IntRange(0, 100).Draw(t, "failures of the others")
		b.ejector.rate(b.now)
		for i, h := range b.list {
			bad := others
			if i == 0 {
				bad = own
			}
			h.health.bad.Add(int64(bad))
			h.health.good.Add(int64(100 - bad))
		}
		outliers := b.ejector.rate(b.now + instant(time.Second))
		switch {
		case own > others+30 && !contains(outliers, b.list[0]):
			t.Fatalf("%d of 100 failed, of the others %d, and that is nothing", own, others)
		case own <= others && contains(outliers, b.list[0]):
			t.Fatalf("%d of 100 failed, of the others %d, and that is too much", own, others)
		}
		for range rateWindow {
			b.now += instant(time.Second)
			outliers = b.ejector.rate(b.now)
		}
		if len(outliers) > 0 {
			t.Fatal("what was ten seconds ago still counts")
		}
	})
}
