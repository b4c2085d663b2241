package manageddata_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry/manageddata"
)

func limits(tb testing.TB) *manageddata.Map[string, int] {
	tb.Helper()
	m, err := manageddata.OpenMap[string, int]("api", "limits", manageddata.Options{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	values := map[string]int{}
	for i := range 1000 {
		values[fmt.Sprintf("limit%d", i)] = i
	}
	if err := m.Set(context.Background(), values); err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestReadingAllocatesNothing(t *testing.T) {
	m := limits(t)
	if n := testing.AllocsPerRun(1000, func() { m.Value("limit7"); m.View().Len() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestReadsDuringUpdates: 64 goroutines read while others write; under the race detector too.
func TestReadsDuringUpdates(t *testing.T) {
	m := limits(t)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 64 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := m.View()
				a, _ := v.Value("a")
				b, _ := v.Value("b")
				if a != b {
					t.Errorf("a is %d and b %d in one version", a, b)
				}
				m.Value("limit7")
				runtime.Gosched() // or the writer waits for its turn behind all of them
			}
		})
	}
	for i := range 10 {
		if err := m.PutAll(t.Context(), map[string]int{"a": i, "b": i}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

// BenchmarkBareMap is what BenchmarkMapValue is to be compared with.
func BenchmarkBareMap(b *testing.B) {
	values := map[string]int{}
	for k, v := range limits(b).View().All() {
		values[k] = v
	}
	sum := 0
	for b.Loop() {
		sum += values["limit7"]
	}
}

func BenchmarkMapValue(b *testing.B) {
	m := limits(b)
	for b.Loop() {
		m.Value("limit7")
	}
}

// BenchmarkMapValueWhileItChanges: 64 goroutines a processor read, one writes.
func BenchmarkMapValueWhileItChanges(b *testing.B) {
	m := limits(b)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if err := m.Put(context.Background(), "a", i); err != nil {
					b.Error(err)
				}
			}
		}
	})
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Value("limit7")
		}
	})
	close(stop)
	writer.Wait()
}

func BenchmarkListContains(b *testing.B) {
	l, err := manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	items := make([]string, 100_000)
	for i := range items {
		items[i] = fmt.Sprintf("10.0.%d.%d", i/256, i%256)
	}
	if err := l.Set(context.Background(), items); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l.Contains("10.0.17.3")
	}
}
