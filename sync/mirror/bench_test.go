package mirror

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/sync/disk"
)

const manyNames = 10_000

// manyConfigs is a registry of configs of 1 KB in one dependency.
func manyConfigs(b *testing.B, names int) *embedded.Registry {
	b.Helper()
	reg, err := embedded.Open(filepath.Join(b.TempDir(), "registry.db"), embedded.Options{})
	check(b, err)
	b.Cleanup(func() { reg.Close() })
	ctx := b.Context()
	check(b, reg.CreateDependency(ctx, web))
	var writers sync.WaitGroup
	for w := range 100 { // the registry shares one write among those who wait
		writers.Go(func() {
			for i := w; i < names; i += 100 {
				name := registry.Name(fmt.Sprintf("config.manageddata.bench.name%05d", i))
				version := registry.NextVersion(time.Now(), "")
				body := bytes.Repeat([]byte(fmt.Sprintf("%015d\n", i)), 64)
				check(b, reg.Create(ctx, name.Pointer()))
				check(b, reg.Create(ctx, name.Metaconfig()))
				check(b, reg.Put(ctx, name.Pointer().Key(version), registry.Body{Data: body}))
				_, err := reg.Advance(ctx, name.Pointer(), "", version, nil)
				check(b, err)
				check(b, reg.Link(ctx, web, registry.Edge(name)))
			}
		})
	}
	writers.Wait()
	return reg
}

func check(b *testing.B, err error) {
	if err != nil {
		b.Error(err)
		panic(err)
	}
}

// bootOnce runs a mirror of reg on the disk in dir until it is ready, then story, and ends it.
func bootOnce(b *testing.B, reg *embedded.Registry, dir string, story func(m *Mirror)) (took time.Duration) {
	b.Helper()
	started := time.Now()
	store, err := disk.Open(dir, disk.Options{})
	check(b, err)
	defer store.Close()
	m := New(reg, reg, store, follows(web))
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for m.Ready() != nil {
		<-time.After(time.Millisecond)
	}
	took = time.Since(started)
	story(m)
	return took
}

// BenchmarkFirstBoot is how long a machine with an empty disk takes to have everything, beside plain concurrent fetches.
func BenchmarkFirstBoot(b *testing.B) {
	for _, names := range []int{1_000, manyNames} {
		b.Run(fmt.Sprint(names), func(b *testing.B) {
			reg := manyConfigs(b, names)
			var boot, restart, plain time.Duration
			for b.Loop() {
				dir := b.TempDir()
				unix.Sync() // what the setup left to write is not the boot's
				boot += bootOnce(b, reg, dir, func(*Mirror) {})
				restart += bootOnce(b, reg, dir, func(*Mirror) {})
				plain += plainFetches(b, reg)
			}
			b.ReportMetric(boot.Seconds()*1e3/float64(b.N), "ms/boot")
			b.ReportMetric(restart.Seconds()*1e3/float64(b.N), "ms/restart")
			b.ReportMetric(plain.Seconds()*1e3/float64(b.N), "ms/fetches")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// plainFetches fetches what a boot fetches, and keeps nothing.
func plainFetches(b *testing.B, reg *embedded.Registry) time.Duration {
	started := time.Now()
	edges, err := first(b.Context(), reg.Dependency(b.Context(), web))
	check(b, err)
	var readers sync.WaitGroup
	for r := range 32 {
		readers.Go(func() {
			for i := r; i < len(edges.Members); i += 32 {
				pointer := registry.Name(edges.Members[i]).Pointer()
				state, err := reg.State(b.Context(), pointer)
				check(b, err)
				_, err = reg.Fetch(b.Context(), pointer.Key(state.Version))
				check(b, err)
			}
		})
	}
	readers.Wait()
	return time.Since(started)
}

// BenchmarkFollowing is what following 10,000 names costs when nothing happens: memory by kind, and the CPU of an hour's audit.
func BenchmarkFollowing(b *testing.B) {
	reg := manyConfigs(b, manyNames)
	dir := b.TempDir()
	bootOnce(b, reg, dir, func(*Mirror) {})
	before := memory()
	for b.Loop() {
		bootOnce(b, reg, dir, func(m *Mirror) {
			<-time.After(100 * time.Millisecond) // the feeds have their first word
			after := memory()
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/manyNames, "heap-B/name")
			b.ReportMetric((float64(after.StackInuse)-float64(before.StackInuse))/manyNames, "stack-B/name")
			b.ReportMetric(float64(after.HeapAlloc+after.StackInuse)/(1<<20), "MB")

			cpu := cpuTime(b)
			_, names := m.subjects()
			for some := range slices.Chunk(names, manyNames/int(m.o.Audit/auditStep)) {
				m.auditNames(b.Context(), some)
			}
			for !m.queue.idle() {
				<-time.After(time.Millisecond)
			}
			b.ReportMetric(float64((cpuTime(b) - cpu).Milliseconds()), "cpu-ms/audit")
		})
	}
	b.ReportMetric(0, "ns/op")
}

func memory() runtime.MemStats {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats
}

func cpuTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	check(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
