package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry/decider"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

const (
	askers   = 64                    // goroutines that ask at the same time
	asks     = 200_000               // of each
	askKeys  = 1000                  // in the map
	askItems = 100_000               // in the list
	asked    = "limit7"              // a key of the map
	changing = 10 * time.Millisecond // between two updates of what is asked
)

// libraries compares what an application asks millions of times a second with a map of its own.
func (b *bench) libraries(ctx context.Context) error {
	dir := filepath.Join(b.dir, "libraries")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	o := manageddata.Options{Dir: dir}
	limits, err := manageddata.OpenMap[string, int]("bench", "limits", o)
	if err != nil {
		return err
	}
	defer limits.Close()
	blacklist, err := manageddata.OpenList[string]("bench", "blacklist", o)
	if err != nil {
		return err
	}
	defer blacklist.Close()
	deciders, err := decider.Open(decider.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer deciders.Close()
	own, set, items := map[string]int{}, map[string]struct{}{}, make([]string, askItems)
	for i := range askKeys {
		own[fmt.Sprint("limit", i)] = i
	}
	for i := range items {
		items[i] = fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		set[items[i]] = struct{}{}
	}
	if err := limits.Set(ctx, own); err != nil {
		return err
	}
	if err := blacklist.Set(ctx, items); err != nil {
		return err
	}
	stop := b.update(ctx, deciders, limits)
	defer stop()
	gate := deciders.Gate("new_ranker", 50)
	var plain atomic.Int32
	plain.Store(50)
	b.ask("decider.ActiveFor, 64 goroutines, during updates (bare: an atomic int)", "under 25 ns",
		func(i int) bool { return gate.ActiveFor(int64(i)) },
		func(i int) bool { return int32(i%100) < plain.Load() })
	b.ask("decider.ActiveForKey", "",
		func(int) bool { return gate.ActiveForKey("user:12345") }, nil)
	b.ask("Map.Value of 1,000 keys, 64 goroutines, during updates (bare: a Go map)", "under 10 ns",
		func(int) bool { _, ok := limits.Value(asked); return ok },
		func(int) bool { _, ok := own[asked]; return ok })
	b.ask("List.Contains in 100,000 items (bare: a Go map)", "",
		func(int) bool { return blacklist.Contains("10.0.17.3") },
		func(int) bool { _, ok := set["10.0.17.3"]; return ok })
	return nil
}

// update changes what is asked, until stop is called.
func (b *bench) update(ctx context.Context, deciders *decider.Deciders, limits *manageddata.Map[string, int]) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		tick := time.NewTicker(changing)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if deciders.Set(ctx, "new_ranker", i%101) != nil || limits.Put(ctx, "changing", i) != nil {
				return // the end of the bench
			}
		}
	})
	return func() { cancel(); writer.Wait() }
}

// ask measures a question, in time of a processor for each.
func (b *bench) ask(what, budget string, ours, bare func(int) bool) {
	var series [2][]time.Duration
	for range b.rounds {
		for i, f := range []func(int) bool{ours, bare} {
			if f != nil {
				series[i] = append(series[i], perAsk(f))
			}
		}
	}
	if bare == nil {
		b.add(row{what: what, ours: short(median(series[0])), budget: budget})
		return
	}
	b.compare(what, budget, series[0], series[1])
}

// perAsk counts the time that this process had, and not the one that passed: other programs want the processors too.
func perAsk(f func(int) bool) time.Duration {
	var wg sync.WaitGroup
	var yes atomic.Int64 // so that nothing is optimized away
	start := used()
	for range askers {
		wg.Go(func() {
			n := 0
			for i := range asks {
				if f(i) {
					n++
				}
			}
			yes.Add(int64(n))
		})
	}
	wg.Wait()
	return (used() - start) / (askers * asks)
}

// used is the time of processors that this process has had.
func used() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
