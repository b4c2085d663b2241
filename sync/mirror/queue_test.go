package mirror

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestBackoffIsFullJitterUnderAGrowingBound(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		bound := lastBackoff
		if failures <= 6 {
			bound = min(bound, firstBackoff<<(failures-1))
		}
		longest, shortest := time.Duration(0), lastBackoff
		for range 1000 {
			d := backoff(failures)
			longest, shortest = max(longest, d), min(shortest, d)
		}
		if shortest <= 0 || longest > bound+time.Millisecond {
			t.Errorf("after %d failures between %s and %s, want up to %s", failures, shortest, longest, bound)
		}
		if shortest > bound/10 || longest < bound*9/10 {
			t.Errorf("after %d failures between %s and %s: a fleet would come back together", failures, shortest, longest)
		}
	}
}

// inQueue runs a story beside a queue whose workers do this.
func inQueue(t *testing.T, workers int, do func(f *follower), story func(q *queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.run(ctx, workers, func(_ context.Context, f *follower) { do(f) }, func() {}) })
		story(q)
		cancel()
		running.Wait()
	})
}

func TestOneNameIsInOneWorkersHands(t *testing.T) {
	var mu sync.Mutex
	busy := map[*follower]int{}
	turns, atOnce := 0, 0
	work := func(f *follower) {
		mu.Lock()
		busy[f]++
		turns++
		if busy[f] > 1 {
			t.Errorf("%s is worked on twice", f.name)
		}
		atOnce = max(atOnce, len(busy))
		mu.Unlock()
		<-time.After(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if busy[f]--; busy[f] == 0 {
			delete(busy, f)
		}
	}
	inQueue(t, 3, work, func(q *queue) {
		names := make([]*follower, 10)
		for i := range names {
			names[i] = &follower{name: registry.Name(fmt.Sprint(i))}
			for range 5 {
				q.add(names[i])
			}
		}
		synctest.Wait() // the first three are being worked on
		q.add(names[0]) // news meanwhile: once more
		q.add(names[0])
		<-time.After(time.Minute)
		synctest.Wait()
		if turns != 11 || atOnce != 3 {
			t.Errorf("%d turns, %d at once, want 11 and 3", turns, atOnce)
		}
		if !q.idle() {
			t.Error("not idle after all is done")
		}
	})
}

func TestPauseEndsByItselfOrByNews(t *testing.T) {
	var mu sync.Mutex
	var order []string
	work := func(f *follower) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, string(f.name))
	}
	done := func() string {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(order)
	}
	inQueue(t, 1, work, func(q *queue) {
		a, b, c, d := &follower{name: "a"}, &follower{name: "b"}, &follower{name: "c"}, &follower{name: "d"}
		q.addLater(a, 3*time.Second)
		q.addLater(b, 1*time.Second)
		q.addLater(c, 2*time.Second)
		q.addLater(d, 4*time.Second)
		q.addLater(b, 5*time.Second) // put off
		q.remove(d)
		if due := q.due(c); time.Until(due) != 2*time.Second {
			t.Errorf("c is due %s", due)
		}
		synctest.Wait()
		q.add(a) // news
		synctest.Wait()
		if got := done(); got != "[a]" {
			t.Errorf("order %s, want a at once", got)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got := done(); got != "[a c b]" {
			t.Errorf("order %s", got)
		}
	})
}

func TestLockOfANameIsForgottenWhenNobodyHasIt(t *testing.T) {
	var l locks
	unlock, err := l.lock(t.Context(), spam)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.try(spam); ok {
		t.Error("locked twice")
	}
	other, ok := l.try(ham)
	if !ok {
		t.Error("another name is locked too")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, spam); err == nil {
		t.Error("locked twice")
	}
	other()
	unlock()
	if len(l.names) != 0 {
		t.Errorf("%d locks are left", len(l.names))
	}
}
