package thriftclient_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// counter is a Metrics that counts.
type counter struct{ of [8]atomic.Int64 }

func (c *counter) Observe(e thriftclient.Event) { c.of[e.Kind].Add(1) }

// state is what the pool thinks of one host.
func state(p *thriftclient.Pool, endpoint string) string {
	for _, h := range p.Hosts() {
		if h.Endpoint == endpoint {
			return h.State
		}
	}
	return "gone"
}

func TestAHostIsEjectedAndComesBack(t *testing.T) {
	bad, good := serve(t, storm.Options{}), serve(t, storm.Options{})
	var seen counter
	p := open(t, thriftclient.Options{
		Idempotent: []string{"*"}, Metrics: &seen, Balance: thriftclient.RoundRobin, // which would go on asking it
		Ejection: thriftclient.Ejection{Base: 50 * time.Millisecond, Max: 100 * time.Millisecond},
	}, bad.Addr(), good.Addr())
	mustEcho(t, p)
	bad.Refuse()
	eventually(t, "it is ejected", func() bool { mustEcho(t, p); return state(p, bad.Addr()) == "ejected" })
	for range 20 {
		if host := mustEcho(t, p); host != good.Addr() {
			t.Fatalf("an answer of %s, which refuses", host)
		}
	}
	if err := bad.Accept(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return mustEcho(t, p) == bad.Addr() })
	if e, r := seen.of[thriftclient.Ejected].Load(), seen.of[thriftclient.Readmitted].Load(); e == 0 || r != 1 {
		t.Errorf("the metrics have heard of %d ejections and %d returns", e, r)
	}
}

func TestOnewayCallsDoNotHideAHostThatHangs(t *testing.T) {
	hangs := strange(t, func(c net.Conn, _ thrift.TProtocol) { _, _ = io.Copy(io.Discard, c) }) // it takes all, and says nothing
	good := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{
		Idempotent: []string{"echo"}, CallTimeout: 200 * time.Millisecond, Balance: thriftclient.RoundRobin,
		Attempts: 10, Ejection: thriftclient.Ejection{Below: -1, Base: time.Hour, Max: time.Hour},
	}, hangs, good.Addr())
	c := stormservice.NewStormClient(p)
	eventually(t, "it is ejected", func() bool {
		_, _ = echo(t.Context(), p) // late, maybe, when the machine is slow
		for range 2 {
			if err := c.Tell(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}
		return state(p, hangs) == "ejected"
	})
}

func TestASingleHostIsNeverEjected(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{}, s.Addr())
	mustEcho(t, p)
	s.Refuse()
	for range 20 {
		if _, err := echo(context.Background(), p); err == nil {
			t.Fatal("an answer of a host that refuses")
		}
	}
	if err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	mustEcho(t, p)
}

func TestTheOneHostThatIsLeftIsFound(t *testing.T) {
	var addrs []string
	for range 9 {
		s := serve(t, storm.Options{})
		s.Refuse()
		addrs = append(addrs, s.Addr())
	}
	left := serve(t, storm.Options{})
	for range 20 {
		p := open(t, thriftclient.Options{Warm: -1}, append(addrs, left.Addr())...)
		if _, err := stormservice.NewStormClient(p).Once(context.Background(), 1); err != nil {
			t.Errorf("one of ten is healthy: %v", err)
		}
	}
}

func TestARestartOfTheOnlyHostIsBridged(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{Attempts: 50, Idempotent: []string{"*"}}, s.Addr())
	mustEcho(t, p)
	s.Refuse()
	time.AfterFunc(100*time.Millisecond, func() {
		if err := s.Accept(); err != nil {
			t.Error(err)
		}
	})
	mustEcho(t, p)
}

func TestHedging(t *testing.T) {
	fast, slow := serve(t, storm.Options{}), serve(t, storm.Options{})
	var seen counter
	p := open(t, thriftclient.Options{
		Hedge: true, Idempotent: []string{"echo"}, Metrics: &seen, Balance: thriftclient.Random,
	}, fast.Addr(), slow.Addr())
	for range 100 {
		mustEcho(t, p)
	}
	slow.Slow(500 * time.Millisecond)
	start := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { mustEcho(t, p) })
	}
	all.Wait()
	if n := seen.of[thriftclient.Hedged].Load(); n == 0 {
		t.Errorf("20 calls of which a half are slow took %v without a hedge", time.Since(start))
	}
	before := seen.of[thriftclient.Hedged].Load()
	if _, err := stormservice.NewStormClient(p).Once(context.Background(), 1); err != nil {
		t.Error(err)
	}
	if n := seen.of[thriftclient.Hedged].Load(); n != before {
		t.Error("a call that must not be sent twice was hedged")
	}
}

func TestHedgesAndRetriesShareTheBudget(t *testing.T) {
	s, other := serve(t, storm.Options{}), serve(t, storm.Options{})
	var seen counter
	p := open(t, thriftclient.Options{Hedge: true, Idempotent: []string{"echo"}, Metrics: &seen, MaxPerHost: 100}, s.Addr(), other.Addr())
	for range 100 {
		mustEcho(t, p)
	}
	s.Slow(300 * time.Millisecond)
	other.Slow(300 * time.Millisecond)
	var all sync.WaitGroup
	for range 180 {
		all.Go(func() { mustEcho(t, p) })
	}
	all.Wait()
	calls, hedges := seen.of[thriftclient.Called].Load(), seen.of[thriftclient.Hedged].Load()
	if most := 100 + calls/5; hedges == 0 || hedges > most || seen.of[thriftclient.Exhausted].Load() == 0 {
		t.Errorf("%d calls made %d hedges, at most %d may be, and %d were refused", calls, hedges, most, seen.of[thriftclient.Exhausted].Load())
	}
}
