package embedded_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
)

// BenchmarkPublish is what one publication asks of the registry: a body of 1 KB, then the pointer.
func BenchmarkPublish(b *testing.B) {
	r := open(b, filepath.Join(b.TempDir(), "registry.db"))
	p := blacklist.Pointer()
	must(b, r.Create(b.Context(), p))
	body := registry.Body{Data: garbage(1 << 10)}
	var base registry.Version
	for b.Loop() {
		next := registry.NextVersion(time.Unix(1795296152, 0), base)
		must(b, r.Put(b.Context(), p.Key(next), body))
		_, err := r.Advance(b.Context(), p, base, next, func(ctx context.Context) error {
			return r.PutIndex(ctx, p.IndexKey(), next)
		})
		must(b, err)
		base = next
	}
}

// BenchmarkPublishAtOnce is the same from 64 writers of different names: they share transactions.
func BenchmarkPublishAtOnce(b *testing.B) {
	r := open(b, filepath.Join(b.TempDir(), "registry.db"))
	body := registry.Body{Data: garbage(1 << 10)}
	var writers atomic.Int32
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		p := numbered(int(writers.Add(1))).Pointer()
		if err := r.Create(b.Context(), p); err != nil {
			b.Error(err)
		}
		var base registry.Version
		for pb.Next() {
			next := registry.NextVersion(time.Unix(1795296152, 0), base)
			if err := r.Put(b.Context(), p.Key(next), body); err != nil {
				b.Error(err)
			}
			if _, err := r.Advance(b.Context(), p, base, next, nil); err != nil {
				b.Error(err)
			}
			base = next
		}
	})
}

func BenchmarkState(b *testing.B) {
	r := open(b, filepath.Join(b.TempDir(), "registry.db"))
	p := blacklist.Pointer()
	must(b, r.Create(b.Context(), p))
	b.ReportAllocs()
	for b.Loop() {
		_, err := r.State(b.Context(), p)
		must(b, err)
	}
}

func BenchmarkBody(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 16 << 20} {
		r := open(b, filepath.Join(b.TempDir(), "registry.db"))
		body := registry.Body{Data: garbage(size)}
		body.Meta.SHA256 = registry.Sum(body.Data)
		must(b, r.Put(b.Context(), "key", body))
		b.Run(fmt.Sprintf("put/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			n := 0
			for b.Loop() {
				must(b, r.Put(b.Context(), fmt.Sprint("key", n), body))
				n++
			}
		})
		b.Run(fmt.Sprintf("fetch/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				_, err := r.Fetch(b.Context(), "key")
				must(b, err)
			}
		})
	}
}

// BenchmarkFeeds prints what 10,000 feeds of 10,000 names keep in memory, each in a goroutine of its consumer's, beside 10,000
// goroutines that wait for their ctx and nothing else; and how long one change takes to reach its feed among them.
func BenchmarkFeeds(b *testing.B) {
	const feeds = 10_000
	r := open(b, filepath.Join(b.TempDir(), "registry.db"))
	create(b, r, feeds)
	pointers := make([]registry.Pointer, feeds) // their strings are the consumers', not the feeds'
	for i := range pointers {
		pointers[i] = numbered(i).Pointer()
	}
	idle := func(ctx context.Context, _ int, ready func()) {
		ready()
		<-ctx.Done()
	}
	held(b, feeds, idle, nil) // the runtime never gives back what a goroutine is made of
	idleHeap, idleStack := held(b, feeds, idle, nil)
	heard := make(chan registry.Version)
	heap, stack := held(b, feeds, func(ctx context.Context, i int, ready func()) {
		ready = sync.OnceFunc(ready)
		for s := range r.Watch(ctx, pointers[i]) {
			ready()
			if s.Version != "" {
				select {
				case heard <- s.Version:
				case <-ctx.Done():
				}
			}
		}
	}, func() {
		var base registry.Version
		for b.Loop() {
			next := registry.NextVersion(time.Unix(1795296152, 0), base)
			_, err := r.Advance(b.Context(), pointers[feeds/2], base, next, nil)
			must(b, err)
			for <-heard != next {
			}
			base = next
		}
	})
	b.ReportMetric((heap-idleHeap)/feeds, "heapB/feed")
	b.ReportMetric((stack-idleStack)/feeds, "stackB/feed")
}

// held runs n goroutines, waits until each is ready, and returns the bytes that they all keep; then it runs work among them.
func held(b *testing.B, n int, run func(ctx context.Context, i int, ready func()), work func()) (heap, stack float64) {
	b.Helper()
	var before, after runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(b.Context())
	var running, ready sync.WaitGroup
	ready.Add(n)
	for i := range n {
		running.Go(func() { run(ctx, i, ready.Done) })
	}
	ready.Wait()
	for range 3 { // stacks shrink by half at a time
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	if work != nil {
		work()
	}
	cancel()
	running.Wait()
	return float64(after.HeapAlloc) - float64(before.HeapAlloc), float64(after.StackInuse) - float64(before.StackInuse)
}

// create makes n numbered pointers, many at a time.
func create(tb testing.TB, r *embedded.Registry, n int) {
	tb.Helper()
	var creating sync.WaitGroup
	for w := range 100 {
		creating.Go(func() {
			for i := w; i < n; i += 100 {
				if err := r.Create(tb.Context(), numbered(i).Pointer()); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	creating.Wait()
}

// BenchmarkOpen is opening a file of 10,000 names, each with a metaconfig and a body of 1 KB.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "registry.db")
	r, err := embedded.Open(path, embedded.Options{})
	must(b, err)
	var writing sync.WaitGroup
	for w := range 100 {
		writing.Go(func() {
			for i := w; i < 10_000; i += 100 {
				n := numbered(i)
				for _, err := range []error{
					r.Create(b.Context(), n.Pointer()), r.Create(b.Context(), n.Metaconfig()),
					r.Put(b.Context(), n.Pointer().Key(version(1)), registry.Body{Data: garbage(1 << 10)}),
				} {
					if err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	writing.Wait()
	must(b, r.Close())
	for b.Loop() {
		r, err := embedded.Open(path, embedded.Options{})
		must(b, err)
		must(b, r.Close())
	}
}
