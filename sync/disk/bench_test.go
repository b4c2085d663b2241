package disk

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

const many = 10_000

// fill commits n files of 1 KB as a first boot does: many workers, each with one file at a time.
func fill(t testing.TB, s *Store, n, workers int) {
	t.Helper()
	body := strings.Repeat("x", 1000)
	names := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range names {
				_, err := s.Commit(Commit{
					File: config(fmt.Sprintf("config.manageddata.domain%02d.some_key_%05d", i%50, i)), Order: registry.Order(i + 1),
					Version: registry.NextVersion(time.Unix(1790000000+int64(i), 0), ""), Body: fmt.Appendf(nil, "%s%d", body, i),
					Author: "ann@build-host-17", Message: "roll out", Published: time.Unix(1790000000, 0),
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		names <- i
	}
	close(names)
	all.Wait()
}

// BenchmarkFirstBoot commits 10,000 files, each durable when its Commit returns.
func BenchmarkFirstBoot(b *testing.B) {
	for _, workers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			for b.Loop() {
				s := openAt(b, b.TempDir(), Options{})
				fill(b, s, many, workers)
				s.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/many, "µs/file")
		})
	}
}

// BenchmarkFirstBootOneCommit commits 10,000 files at once.
func BenchmarkFirstBootOneCommit(b *testing.B) {
	var commits []Commit
	for i := range many {
		commits = append(commits, Commit{
			File: config(fmt.Sprintf("config.manageddata.domain.some_key_%05d", i)), Body: fmt.Appendf(nil, "%01000d", i),
		})
	}
	for b.Loop() {
		s := openAt(b, b.TempDir(), Options{})
		if _, err := s.Commit(commits...); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// BenchmarkCommit is one file at a time, durable.
func BenchmarkCommit(b *testing.B) {
	s := openAt(b, b.TempDir(), Options{})
	i := 0
	for b.Loop() {
		i++
		commit(b, s, config("config.a.b"), registry.Order(i), fmt.Sprint(i))
	}
}

// BenchmarkBareCommit writes and syncs the same files with nothing around: what the disk takes for a durable commit.
func BenchmarkBareCommit(b *testing.B) {
	dir := b.TempDir()
	journal, err := os.Create(dir + "/journal")
	if err != nil {
		b.Fatal(err)
	}
	defer journal.Close()
	i := 0
	for b.Loop() {
		i++
		body, err := os.Create(fmt.Sprint(dir, "/", i))
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprint(body, i)
		body.Sync()
		body.Close()
		syncPath(dir)
		fmt.Fprint(journal, strings.Repeat("x", 150))
		journal.Sync()
	}
}

// BenchmarkOpen opens a store of 10,000 files, which is done when Open returns. The heap is what the open store holds on to.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, many, 256)
	s.Close()
	s = nil
	before := heap()
	for b.Loop() {
		if s != nil {
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
		if s, err = Open(dir, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	<-s.repaired
	b.ReportMetric(float64(heap()-before)/many, "heap-B/file")
	s.Close()
}

// BenchmarkUpkeep is what goes on behind the back of the first reads after Open: 10,000 plain files and bodies looked at.
func BenchmarkUpkeep(b *testing.B) {
	dir := b.TempDir()
	s := openAt(b, dir, Options{})
	fill(b, s, many, 256)
	s.Close()
	for b.Loop() {
		s := openAt(b, dir, Options{})
		<-s.repaired
		s.Close()
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkOpenBody is what a first read through the mount costs here.
func BenchmarkOpenBody(b *testing.B) {
	s := openAt(b, b.TempDir(), Options{})
	e := commit(b, s, config("config.a.b"), 1, strings.Repeat("x", 1000))
	for b.Loop() {
		file, err := s.OpenBody(e.Stamp)
		if err != nil {
			b.Fatal(err)
		}
		file.Close()
	}
}

// BenchmarkCurrent is a look-up while nothing is written.
func BenchmarkCurrent(b *testing.B) {
	s := openAt(b, b.TempDir(), Options{})
	commit(b, s, config("config.a.b"), 1, "x")
	for b.Loop() {
		s.Current(config("config.a.b"))
	}
}
