package embedded

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func openForTest(t testing.TB) *Registry {
	t.Helper()
	r, err := Open(filepath.Join(t.TempDir(), "registry.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func pointer(n int) registry.Pointer {
	return registry.Name(fmt.Sprintf("config.manageddata.many.key%05d", n)).Pointer()
}

// TestOnlyTheChangedNodesFeedsWake looks at the bells themselves: a feed that woke for nothing would yield nothing, and go unseen.
func TestOnlyTheChangedNodesFeedsWake(t *testing.T) {
	r := openForTest(t)
	if err := r.Create(t.Context(), pointer(0)); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var feeds sync.WaitGroup
		var mu sync.Mutex
		yields := make(map[int]int)
		for i := range 100 {
			feeds.Go(func() {
				for _, err := range r.Watch(ctx, pointer(i/2)) {
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					yields[i]++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		r.mu.Lock()
		if len(r.bells) != 50 || r.bells[pointer(7)].waiting != 2 {
			t.Errorf("%d bells for 50 nodes, and %d feeds at one, want 2", len(r.bells), r.bells[pointer(7)].waiting)
		}
		before := make(map[registry.Pointer]*bell)
		for p, b := range r.bells {
			before[p] = b
		}
		r.mu.Unlock()

		if _, err := r.Advance(ctx, pointer(0), "", "1.1", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.mu.Lock()
		for p, b := range r.bells {
			if woke := b != before[p]; woke != (p == pointer(0)) {
				t.Errorf("the feeds of %s woke: %v", p, woke)
			}
		}
		r.mu.Unlock()
		for i := range 100 {
			want := 1
			if i/2 == 0 {
				want = 2
			}
			if yields[i] != want {
				t.Errorf("feed %d of %s has yielded %d times, want %d", i, pointer(i/2), yields[i], want)
			}
		}

		r.mu.Lock()
		clear(before)
		for p, b := range r.bells {
			before[p] = b
		}
		r.mu.Unlock()
		if err := r.Create(ctx, pointer(0)); !errors.Is(err, registry.ErrExist) {
			t.Errorf("create again: %v", err)
		}
		synctest.Wait()
		r.mu.Lock()
		for p, b := range r.bells {
			if b != before[p] {
				t.Errorf("what was refused woke the feeds of %s", p)
			}
		}
		r.mu.Unlock()
		cancel()
		feeds.Wait()
	})
	if len(r.bells) != 0 {
		t.Errorf("%d bells are left when nobody listens", len(r.bells))
	}
}

// TestAConsumerThatPanicsLeavesNothing: its feed must not stay behind as a listener.
func TestAConsumerThatPanicsLeavesNothing(t *testing.T) {
	r := openForTest(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		for range r.Watch(t.Context(), pointer(0)) {
			panic("of the consumer")
		}
	}()
	if len(r.bells) != 0 {
		t.Errorf("%d bells are left", len(r.bells))
	}
}

// TestThoseWhoWriteAtOnceShareATransaction holds the token until all have asked, so that one of them commits for all.
func TestThoseWhoWriteAtOnceShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		ctx := t.Context()
		if err := r.Create(ctx, pointer(0)); err != nil {
			t.Fatal(err)
		}
		before := r.transactions(t)
		r.token <- struct{}{}
		var writers sync.WaitGroup
		errs := make([]error, 100)
		for i := range errs {
			writers.Go(func() { errs[i] = r.Create(ctx, pointer(i)) })
		}
		synctest.Wait()
		<-r.token
		writers.Wait()
		if n := r.transactions(t) - before; n != 1 {
			t.Errorf("%d transactions for a hundred changes", n)
		}
		for i, err := range errs {
			if refused := err != nil; refused != (i == 0) {
				t.Errorf("create %s: %v", pointer(i), err)
			}
		}
	})
}

// TestWhoGivesUpTooLateIsToldTheOutcome cancels those whose change somebody is already committing.
func TestWhoGivesUpTooLateIsToldTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.token <- struct{}{}
		running, finish := make(chan struct{}), make(chan struct{})
		var writers sync.WaitGroup
		for i := range 5 {
			writers.Go(func() {
				err := r.commit(ctx, pointer(i), 0, func(u *update) error {
					u.put(nodesBucket, []byte(pointer(i)), node{order: u.take()}.encode())
					select {
					case <-running:
					default:
						close(running)
						<-finish
					}
					return nil
				})
				if err != nil {
					t.Errorf("a change that was made: %v", err)
				}
			})
		}
		synctest.Wait()
		<-r.token
		<-running
		cancel()
		synctest.Wait()
		close(finish)
		writers.Wait()
		for i := range 5 {
			if s, err := r.State(t.Context(), pointer(i)); err != nil || !s.Exists {
				t.Errorf("%s is %+v, %v", pointer(i), s, err)
			}
		}
	})
}

// TestOneDamagedPageFailsNobodyElse: of those who share a transaction only the one who meets the page is told of it.
func TestOneDamagedPageFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		r.token <- struct{}{}
		var writers sync.WaitGroup
		var damaged error
		writers.Go(func() {
			damaged = r.commit(t.Context(), pointer(0), 0, func(*update) error { panic("page 7 is not page 7") })
		})
		errs := make([]error, 5)
		for i := range errs {
			writers.Go(func() { errs[i] = r.Create(t.Context(), pointer(i)) })
		}
		synctest.Wait()
		<-r.token
		writers.Wait()
		if !errors.Is(damaged, ErrDamaged) || !strings.Contains(damaged.Error(), "page 7") {
			t.Errorf("who met the damage was told %v", damaged)
		}
		if err := errors.Join(errs...); err != nil {
			t.Errorf("the others were told %v", err)
		}
	})
}

// TestAChangeBetweenReadingAndWaitingIsHeard: each read finds the node changed again behind its back.
func TestAChangeBetweenReadingAndWaitingIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		n := 0
		read := func() (int, error) {
			defer r.ring(pointer(0))
			n++
			return n, nil
		}
		for v := range feed(t.Context(), r, pointer(0), read, func(a, b int) bool { return a == b }) {
			if v == 10 {
				break
			}
		}
	})
}

// TestAFeedGoesOnAfterTrouble: it is told once in a while that the trouble lasts, and the state follows though it is the same.
func TestAFeedGoesOnAfterTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		trouble := errors.New("a page that cannot be read")
		var mu sync.Mutex // synctest's clock wakes feed and test together
		var err error
		fail := func(next error) {
			mu.Lock()
			defer mu.Unlock()
			err = next
		}
		read := func() (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return 7, err
		}
		ctx, cancel := context.WithCancel(t.Context())
		var yielded []string
		var consumer sync.WaitGroup
		consumer.Go(func() {
			for v, err := range feed(ctx, r, pointer(0), read, func(a, b int) bool { return a == b }) {
				mu.Lock()
				yielded = append(yielded, fmt.Sprint(v, err))
				mu.Unlock()
			}
		})
		expect := func(step string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(yielded, want) {
				t.Errorf("%s: the feed yielded %q, want %q", step, yielded, want)
			}
			yielded = nil
		}
		expect("at once", "7 <nil>")
		r.ring(pointer(0))
		expect("woken for nothing")
		fail(trouble)
		r.ring(pointer(0))
		expect("trouble", "7 "+trouble.Error())
		<-time.After(recheck)
		expect("lasting trouble", "7 "+trouble.Error())
		fail(nil)
		<-time.After(recheck)
		expect("no trouble", "7 <nil>")
		<-time.After(10 * recheck)
		expect("nothing new")
		cancel()
		consumer.Wait()
	})
}

// TestWhoGivesUpInTheQueueHasChangedNothing cancels one who waits for the token.
func TestWhoGivesUpInTheQueueHasChangedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openForTest(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.token <- struct{}{}
		outcome := make(chan error, 1)
		go func() { outcome <- r.Create(ctx, pointer(1)) }()
		synctest.Wait()
		cancel()
		if err := <-outcome; err != context.Canceled {
			t.Errorf("create: %v", err)
		}
		<-r.token
		if s, err := r.State(t.Context(), pointer(1)); err != nil || s.Exists {
			t.Errorf("the pointer is %+v, %v", s, err)
		}
	})
}

// transactions is bbolt's count of all that were ever committed.
func (r *Registry) transactions(t *testing.T) (n int) {
	t.Helper()
	if err := r.view(func(v *view) error { n = v.tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOrdersNeverRunOutForThoseWhoLeave uses up a block of orders: the leaving of a member needs no write even then.
func TestOrdersNeverRunOutForThoseWhoLeave(t *testing.T) {
	r := openForTest(t)
	ctx := t.Context()
	set := registry.Name("discovery.user.prod")
	if err := r.Create(ctx, set.Pointer()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.next = r.ceiling - 5
	r.mu.Unlock()
	joined, leave := context.WithCancel(ctx)
	var members sync.WaitGroup
	for i := range 10 {
		members.Go(func() {
			if err := r.Join(joined, set, registry.Member{Endpoint: registry.Endpoint(fmt.Sprintf("10.0.0.%d:1", i+1))}); err != nil {
				t.Error(err)
			}
		})
	}
	for m, err := range r.Members(ctx, set) {
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Members) == 10 {
			break
		}
	}
	r.mu.Lock()
	r.next = r.ceiling - 15
	r.mu.Unlock()
	for i := range 15 {
		if err := r.Create(ctx, pointer(i)); err != nil {
			t.Fatal(err)
		}
		if r.next+r.joined > r.ceiling {
			t.Fatalf("after %d changes there are %d orders left for %d members", i, r.ceiling-r.next, r.joined)
		}
	}
	before := r.transactions(t)
	r.mu.Lock()
	r.next = r.ceiling - r.joined // the worst that can be
	ceiling := r.ceiling
	r.mu.Unlock()
	leave()
	members.Wait()
	if r.next > ceiling || r.transactions(t) != before {
		t.Errorf("leaving took orders up to %d of %d, and %d transactions", r.next, ceiling, r.transactions(t)-before)
	}
}
