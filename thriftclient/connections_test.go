package thriftclient_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// connections is how many the pool has to its only host.
func connections(p *thriftclient.Pool) int {
	n := 0
	for _, h := range p.Hosts() {
		n += h.Connections
	}
	return n
}

// fill makes n connections by n calls at the same time.
func fill(t *testing.T, p *thriftclient.Pool, n int) {
	t.Helper()
	for wait := 100 * time.Millisecond; !together(t, p, n, wait); wait *= 2 { // a slow machine does not start them at the same time
	}
}

// together makes n calls that take a while, and says whether all of them were seen to run at the same time.
func together(t *testing.T, p *thriftclient.Pool, n int, wait time.Duration) bool {
	t.Helper()
	var all sync.WaitGroup
	var ended atomic.Int64
	for range n {
		all.Go(func() {
			defer ended.Add(1)
			if _, err := echoAfter(t.Context(), p, wait); err != nil {
				t.Error(err)
			}
		})
	}
	defer all.Wait()
	seen := false
	eventually(t, "the calls run", func() bool {
		seen = inFlight(p) == n
		return seen || ended.Load() > 0
	})
	return seen
}

// usedConn tells the connections of a pool apart by what is written to them.
type usedConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *usedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestTheConnectionUsedLastIsUsedNext(t *testing.T) {
	s := serve(t, storm.Options{})
	var mu sync.Mutex
	var made []*usedConn
	dial := func(ctx context.Context, endpoint string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", endpoint)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		made = append(made, &usedConn{Conn: conn})
		return made[len(made)-1], nil
	}
	p := open(t, thriftclient.Options{Dial: dial, Warm: -1}, s.Addr())
	fill(t, p, 4)
	mu.Lock()
	idle := slices.Clone(made)
	mu.Unlock()
	if len(idle) != 4 {
		t.Fatalf("%d connections after 4 calls at a time", len(idle))
	}
	for _, c := range idle {
		c.writes.Store(0)
	}
	for range 20 {
		mustEcho(t, p)
	}
	used := 0
	for _, c := range idle {
		if c.writes.Load() > 0 {
			used++
		}
	}
	if used != 1 {
		t.Errorf("20 calls, one after the other, used %d of 4 connections", used)
	}
}

func TestIdleConnectionsAreClosedButForTheWarmOnes(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{Warm: 2, IdleTimeout: 20 * time.Millisecond}, s.Addr())
	eventually(t, "two are made without a call", func() bool { return s.Stats().Accepted == 2 })
	fill(t, p, 5)
	eventually(t, "two are left", func() bool { return connections(p) == 2 })
	s.Refuse()
	eventually(t, "it is noticed that the server has closed them", func() bool { return connections(p) == 0 })
	if err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there are two again", func() bool { return p.Hosts()[0].Idle == 2 })
}

func TestOldConnectionsAreClosed(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{Warm: -1, MaxAge: 30 * time.Millisecond}, s.Addr())
	eventually(t, "another connection", func() bool { mustEcho(t, p); return s.Stats().Accepted > 2 })
}

func TestWaitingForAConnectionEndsAtTheDeadline(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{MaxPerHost: 1}, s.Addr())
	done := make(chan error, 1)
	release := s.Hold()
	defer release()
	go func() { done <- call(p) }()
	eventually(t, "the only connection is used", func() bool { return inFlight(p) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := echo(ctx, p)
	if e := failure(t, err); e.Sent || !e.Timeout() {
		t.Error(err)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnectingIsBounded(t *testing.T) {
	s := serve(t, storm.Options{})
	var hangs atomic.Bool
	hangs.Store(true)
	dial := func(ctx context.Context, endpoint string) (net.Conn, error) {
		if hangs.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", endpoint)
	}
	p := open(t, thriftclient.Options{Dial: dial, ConnectTimeout: 20 * time.Millisecond, Attempts: 1, MaxPerHost: 1, Warm: -1}, s.Addr())
	for range 3 { // each has its place back
		start := time.Now()
		_, err := echo(context.Background(), p)
		if e := failure(t, err); e.Sent || time.Since(start) > patience/2 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	}
	hangs.Store(false)
	eventually(t, "there is a connection", func() bool { return call(p) == nil })
}

func TestATimeoutMovesTheCallToAnotherHost(t *testing.T) {
	slow := []*storm.Server{serve(t, storm.Options{}), serve(t, storm.Options{})}
	good := serve(t, storm.Options{})
	once := open(t, thriftclient.Options{CallTimeout: 2 * time.Second}, slow[0].Addr())
	mustEcho(t, once) // so that there is a connection
	for _, s := range slow {
		defer s.Hold()()
	}
	p := open(t, thriftclient.Options{
		Idempotent: []string{"echo"}, CallTimeout: 100 * time.Millisecond, Balance: thriftclient.RoundRobin,
		Attempts: 50, Ejection: thriftclient.Ejection{Failures: -1, Below: -1}, // if the machine stalls, the good one is late, too
	}, slow[0].Addr(), slow[1].Addr(), good.Addr())
	for range 3 {
		if host := mustEcho(t, p); host != good.Addr() {
			t.Errorf("an answer of %s", host)
		}
	}
	_, err := stormservice.NewStormClient(once).Once(context.Background(), 1)
	if e := failure(t, err); !e.Sent || !e.Timeout() || e.Attempts != 1 {
		t.Errorf("a call that must not be repeated: %v", err)
	}
}

func TestPoolsAreIndependent(t *testing.T) {
	s := serve(t, storm.Options{})
	a, b := open(t, thriftclient.Options{Warm: -1}, s.Addr()), open(t, thriftclient.Options{Warm: -1}, s.Addr())
	mustEcho(t, a)
	mustEcho(t, b)
	a.Close(context.Background())
	if n := s.Stats().Accepted; n != 2 {
		t.Errorf("two pools have made %d connections", n)
	}
	mustEcho(t, b)
}

func TestAGeneratedClientForEachGoroutine(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{}, s.Addr())
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			client := stormservice.NewStormClient(p)
			for range 50 {
				id := ids.Add(1)
				if answer, err := client.Echo(context.Background(), id, 0, nil); err != nil || answer.ID != id {
					t.Errorf("asked for %d: %v, %v", id, answer, err)
				}
			}
		})
	}
	all.Wait()
}

// panics is a request with a list in it that another goroutine cuts.
type panics struct{ thrift.TStruct }

func (panics) Write(context.Context, thrift.TProtocol) error { panic("index out of range") }

func TestAPanicOfGeneratedCodeLosesNoConnection(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{MaxPerHost: 1, Warm: -1}, s.Addr())
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = p.Call(context.Background(), "echo", panics{}, &stormservice.StormEchoResult{})
		}()
	}
	mustEcho(t, p)
	if n := inFlight(p); n != 0 {
		t.Errorf("%d calls are in flight", n)
	}
}
