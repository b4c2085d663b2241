package thriftclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// What the load is made of: callers that call at a steady pace, three calls in four of a method that may be repeated.
const (
	callers = 16
	pace    = 20 * time.Millisecond
	work    = 2 * time.Millisecond // of the server, for one call
)

// sample is one call of an idempotent method.
type sample struct {
	start time.Time
	took  time.Duration
}

// load calls until it is stopped, and remembers everything.
type load struct {
	pool *thriftclient.Pool
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	samples []sample
	control []sample         // of bare clients of a server to which nothing happens: what the machine is like at the time
	errs    []error          // of idempotent calls
	wrong   []error          // answers that were another's
	once    map[int64]string // ids of calls that must not be repeated: how they ended
}

func startLoad(t *testing.T, p *thriftclient.Pool) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{pool: p, stop: stop, once: map[int64]string{}}
	calm := process(t, storm.Options{})
	for range callers {
		client := stormservice.NewStormClient(bare(t, calm.Addr))
		l.all.Go(func() { l.call(ctx) })
		l.all.Go(func() { l.compare(ctx, client) })
	}
	return l
}

// compare calls as call does, without us and without faults.
func (l *load) compare(ctx context.Context, client *stormservice.StormClient) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		start := time.Now()
		_, err := client.Echo(context.Background(), 0, int32(work.Microseconds()), nil)
		took := time.Since(start)
		l.mu.Lock()
		l.control = append(l.control, sample{start, took})
		if err != nil {
			l.wrong = append(l.wrong, fmt.Errorf("a bare client of a healthy server: %w", err))
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *load) call(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	client := stormservice.NewStormClient(l.pool)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		id := ids.Add(1)
		if n%4 == 0 {
			l.callOnce(client, id)
			continue
		}
		start := time.Now()
		answer, err := client.Echo(context.Background(), id, int32(work.Microseconds()), nil)
		took := time.Since(start)
		l.mu.Lock()
		l.samples = append(l.samples, sample{start, took})
		switch {
		case err != nil:
			l.errs = append(l.errs, fmt.Errorf("after %v: %w", took, err))
		case answer.ID != id:
			l.wrong = append(l.wrong, fmt.Errorf("asked for %d, and got the answer of %d", id, answer.ID))
		}
		l.mu.Unlock()
	}
}

func (l *load) callOnce(client *stormservice.StormClient, id int64) {
	answer, err := client.Once(context.Background(), id)
	l.mu.Lock()
	defer l.mu.Unlock()
	var failed *thriftclient.CallError
	switch {
	case err == nil && answer.ID != id:
		l.wrong = append(l.wrong, fmt.Errorf("asked for %d, and got the answer of %d", id, answer.ID))
	case err == nil:
		l.once[id] = "answered"
	case errors.As(err, &failed) && !failed.Sent:
		l.once[id] = "unsent"
	default:
		l.once[id] = "sent"
	}
}

// p99 is that of the calls that began between two moments.
func p99(samples []sample, from, to time.Time) (quantile time.Duration, calls int) {
	var took []time.Duration
	for _, s := range samples {
		if s.start.After(from) && s.start.Before(to) {
			took = append(took, s.took)
		}
	}
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)*99/100], len(took)
}

// failures are the errors of idempotent calls so far, and none the next time.
func (l *load) failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := l.errs
	l.errs = nil
	return errs
}

// finish ends the load and compares what the callers think with what the servers have noted.
func (l *load) finish(t *testing.T, notes string) {
	t.Helper()
	l.stop()
	l.all.Wait()
	for _, err := range l.wrong {
		t.Error(err)
	}
	noted, err := storm.Noted(notes)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	for id, how := range l.once {
		ends[how]++
		switch n := noted[id]; {
		case n > 1:
			t.Errorf("%d was executed %d times, and must not be repeated", id, n)
		case how == "answered" && n != 1:
			t.Errorf("%d was answered by nobody", id)
		case how == "unsent" && n != 0:
			t.Errorf("%d was executed, although the error says that it was not sent", id)
		}
	}
	t.Logf("%d calls that may be repeated; of those that may not: %v", len(l.samples), ends)
	if ends["answered"] == 0 {
		t.Error("no call that must not be repeated has been answered")
	}
}
