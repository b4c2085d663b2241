package main

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"
)

func TestPaceOfGarbage(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 200},
		{1 << 20, 200},
		{4 << 20, 200},
		{8 << 20, 100},
		{20 << 20, gcPercent},
		{1 << 30, gcPercent},
	} {
		if got := pace(c.live); got != c.want {
			t.Errorf("with %d bytes that live: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// A server that grows must not keep the garbage that a small one may, nor one that has started what was good for its start.
func TestGarbageIsPacedAfterEachCollection(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(gcPercent)
		debug.SetGCPercent(now)
		return now
	}
	defer debug.SetGCPercent(percent())
	reaches := func(want func(int) bool, what string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !want(percent()); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: still %d %%", what, percent())
			}
			runtime.GC()
		}
	}
	little, much := func(p int) bool { return p == gcPercent }, func(p int) bool { return p > gcPercent }

	var started atomic.Bool
	paceGarbage(func() bool { return !started.Load() })
	reaches(much, "when little lives")
	index := make([]byte, 64<<20)
	reaches(little, "when much lives")
	runtime.KeepAlive(index)
	index = nil
	reaches(much, "when little lives again")
	started.Store(true)
	reaches(little, "after the start")
}
