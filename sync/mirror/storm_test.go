package mirror

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// BenchmarkServersetStorm has a thousand members a second join and leave a set of ten thousand, and says how many versions of its file
// that makes, how long after the last one the file has all of them, and what a member costs this machine.
func BenchmarkServersetStorm(b *testing.B) {
	for _, size := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("%d members", size), func(b *testing.B) { storm(b, size) })
	}
}

func storm(b *testing.B, size int) {
	reg, err := embedded.Open(b.TempDir()+"/registry.db", embedded.Options{})
	check(b, err)
	defer reg.Close()
	ctx, cancel := context.WithCancel(b.Context())
	for _, p := range []registry.Pointer{user.Pointer(), user.Metaconfig()} {
		check(b, reg.Create(ctx, p))
	}
	check(b, reg.CreateDependency(ctx, web))
	check(b, reg.Link(ctx, web, registry.Edge(user)))
	var joined sync.WaitGroup
	join := func(i int) {
		joined.Go(func() {
			_ = reg.Join(ctx, user, registry.Member{Endpoint: registry.Endpoint(fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255))})
		})
	}
	for i := range size {
		join(i)
	}
	store, err := disk.Open(b.TempDir(), disk.Options{})
	check(b, err)
	defer store.Close()
	m := New(reg, reg, store, Options{Dependencies: []registry.Dependency{web}})
	var running sync.WaitGroup
	running.Go(func() { _ = m.Run(ctx) })
	await := func(n int) {
		for deadline := time.After(time.Minute); ; {
			file, err := os.ReadFile(store.Dir() + "/files/serverset/" + string(user))
			if err == nil && strings.Count(string(file), "\n") == n {
				return
			}
			select {
			case <-time.After(time.Millisecond):
			case <-deadline:
				b.Fatalf("%d of %d members", strings.Count(string(file), "\n"), n)
			}
		}
	}
	await(size)
	commits, cpu, n := m.Stats().Commits, used(), size
	var lag time.Duration
	for b.Loop() {
		tick := time.NewTicker(time.Millisecond)
		for range 1000 {
			<-tick.C
			join(n)
			n++
		}
		tick.Stop()
		last := time.Now()
		await(n)
		lag += time.Since(last)
	}
	rounds := float64(b.N)
	b.ReportMetric(float64(m.Stats().Commits-commits)/rounds, "versions/1000-joins")
	b.ReportMetric(float64((used()-cpu).Microseconds())/rounds/1000, "cpu-us/join")
	b.ReportMetric(float64(lag.Milliseconds())/rounds, "ms-behind")
	cancel()
	running.Wait()
	joined.Wait()
}

func used() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
