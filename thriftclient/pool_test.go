package thriftclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// failure is the CallError in err.
func failure(t *testing.T, err error) *thriftclient.CallError {
	t.Helper()
	var e *thriftclient.CallError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a CallError", err)
	}
	return e
}

func TestEveryTransportAndProtocolIsSpoken(t *testing.T) {
	transports := map[string]thriftclient.Transport{
		"buffered": thriftclient.Buffered, "framed": thriftclient.Framed, "header": thriftclient.Header,
	}
	protocols := map[string]thriftclient.Protocol{"binary": thriftclient.Binary, "compact": thriftclient.Compact}
	for transport, ours := range transports {
		for protocol, how := range protocols {
			for _, service := range []string{"", "storm"} {
				t.Run(fmt.Sprint(transport, " ", protocol, " ", service), func(t *testing.T) {
					s := serve(t, storm.Options{Transport: transport, Protocol: protocol, Service: service})
					p := open(t, thriftclient.Options{Transport: ours, Protocol: how, Service: service, Warm: -1}, s.Addr())
					speaks(t, p, s)
				})
			}
		}
	}
}

// speaks makes one call of each kind.
func speaks(t *testing.T, p *thriftclient.Pool, s *storm.Server) {
	t.Helper()
	ctx := context.Background()
	client := stormservice.NewStormClient(p)
	padding := []byte(strings.Repeat("x", 100_000)) // more than any buffer holds
	for id := range int64(3) {
		answer, err := client.Echo(ctx, id, 0, padding)
		if err != nil || answer.ID != id || answer.Host != s.Addr() {
			t.Fatalf("echo: %v, %v", answer, err)
		}
	}
	var refused *stormservice.Refused
	if _, err := client.Once(ctx, -7); !errors.As(err, &refused) || refused.Reason != "-7" {
		t.Errorf("a declared exception came as %v", err)
	}
	_, err := client.Fail(ctx, 3)
	var exception thrift.TApplicationException
	if !errors.As(err, &exception) || exception.TypeId() != thrift.INTERNAL_ERROR {
		t.Errorf("a TApplicationException came as %v", err)
	}
	if e := failure(t, err); e.Method != "fail" || e.Host != s.Addr() || e.Attempts != 1 || !e.Sent || e.TExceptionType() != thrift.TExceptionTypeApplication {
		t.Errorf("it says %+v", e)
	}
	if err := client.Tell(ctx, 1); err != nil {
		t.Errorf("oneway: %v", err)
	}
	mustEcho(t, p) // after the oneway call on the same connection: the server has read it
	if got := s.Stats(); got.Told != 1 || got.Accepted != 1 {
		t.Errorf("told %d times over %d connections, want once over one: none of this spoils a connection", got.Told, got.Accepted)
	}
}

func TestHeadersTravel(t *testing.T) {
	for _, service := range []string{"", "storm"} {
		s := serve(t, storm.Options{Transport: "header", Service: service})
		p := open(t, thriftclient.Options{Transport: thriftclient.Header, Service: service}, s.Addr())
		ctx := thrift.SetWriteHeaderList(thrift.SetHeader(context.Background(), "name", "somebody"), []string{"name"})
		if host, err := echo(ctx, p); host != "somebody" {
			t.Errorf("service %q: the header arrives as %q, %v", service, host, err)
		}
		if host := mustEcho(t, p); host != s.Addr() {
			t.Errorf("service %q: the next call has the header, too: %q", service, host)
		}
	}
}

func TestALateReplyReachesNobody(t *testing.T) {
	s := serve(t, storm.Options{})
	var seen counter
	p := open(t, thriftclient.Options{Warm: -1, MaxPerHost: 1, Metrics: &seen}, s.Addr())
	release := s.Hold() // no answer comes before the deadline
	defer release()
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		_, err := echo(ctx, p)
		cancel()
		e := failure(t, err)
		if !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if e.Sent { // or the machine was too slow for that
			break
		}
	}
	before := seen.of[thriftclient.Dialled].Load()
	release()
	for range 3 {
		mustEcho(t, p) // it says so if the answer is another one's
	}
	if n := seen.of[thriftclient.Dialled].Load() - before; n != 1 {
		t.Errorf("%d connections more, want one after the first was left with an answer on its way", n)
	}
}

func TestCancellingInterruptsACall(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{}, s.Addr())
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("no longer wanted")
	defer s.Hold()() // it is not answered
	time.AfterFunc(50*time.Millisecond, func() { cancel(over) })
	if _, err := echo(ctx, p); !errors.Is(err, over) {
		t.Error(err)
	}
	if h := p.Hosts()[0]; h.Failures != 0 {
		t.Errorf("the host is blamed for it: %+v", h)
	}
}

func TestAnAnswerThatTricklesEndsAtTheDeadline(t *testing.T) {
	// Thrift's own socket begins a new timeout with each read: such an answer would take 25 s.
	addr := strange(t, func(c net.Conn, _ thrift.TProtocol) {
		for _, b := range []byte(strings.Repeat("\x80\x01\x00\x02\x00\x00\x10\x00echo", 50)) {
			<-time.After(50 * time.Millisecond)
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	})
	p := open(t, thriftclient.Options{Timeout: 300 * time.Millisecond}, addr)
	start := time.Now()
	_, err := echo(context.Background(), p)
	if !failure(t, err).Timeout() || time.Since(start) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestTheBudgetBoundsRetries(t *testing.T) {
	var mu sync.Mutex
	attempts := 0
	addr := strange(t, func(c net.Conn, _ thrift.TProtocol) {
		if n, _ := c.Read(make([]byte, 100)); n > 0 {
			mu.Lock()
			attempts++
			mu.Unlock()
		}
	})
	p := open(t, thriftclient.Options{Idempotent: []string{"*"}}, addr)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			for range 10 {
				if _, err := echo(context.Background(), p); err == nil {
					t.Error("an answer from nobody")
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if attempts <= 300 || attempts > 300+60+100 {
		t.Errorf("300 calls made %d attempts, at most 100 and a fifth may be added", attempts)
	}
}

func TestTheLimitHoldsUnderAnyRace(t *testing.T) {
	const limit = 3
	s := serve(t, storm.Options{Limit: limit})
	p := open(t, thriftclient.Options{MaxPerHost: limit, Warm: 2, MaxAge: 5 * time.Millisecond, IdleTimeout: 10 * time.Millisecond, Timeout: patience}, s.Addr())
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if i%10 == 9 { // one that is given up
					ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
				}
				if _, err := echoAfter(ctx, p, 500*time.Microsecond); err != nil && i%10 != 9 {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if got := s.Stats(); got.Excess > 0 || got.Most > limit {
		t.Errorf("up to %d connections, %d times more than the %d that are allowed", got.Most, got.Excess, limit)
	}
}

func TestTheLimitHoldsWhenAHostComesAndGoes(t *testing.T) {
	const limit = 2
	flapping, steady := serve(t, storm.Options{Limit: limit}), serve(t, storm.Options{})
	one, both := []thriftclient.Member{{Endpoint: steady.Addr()}}, []thriftclient.Member{{Endpoint: steady.Addr()}, {Endpoint: flapping.Addr()}}
	source := func(ctx context.Context) iter.Seq2[[]thriftclient.Member, error] {
		return func(yield func([]thriftclient.Member, error) bool) {
			for yield(both, nil) && ctx.Err() == nil {
				<-time.After(5 * time.Millisecond)
				if !yield(one, nil) {
					return
				}
				<-time.After(time.Millisecond)
			}
		}
	}
	p := openSource(t, source, thriftclient.Options{MaxPerHost: limit, Timeout: patience})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 40 {
				if _, err := echoAfter(context.Background(), p, 10*time.Millisecond); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := flapping.Stats(); got.Excess > 0 || got.Accepted <= limit {
		t.Errorf("%d connections in all, and %d times more than %d at a time", got.Accepted, got.Excess, limit)
	}
}

func TestWithoutHosts(t *testing.T) {
	p, err := thriftclient.Open("discovery.nobody.test", thriftclient.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("a file that is not there: %v", err)
	}
	defer p.Close(context.Background())
	_, err = echo(context.Background(), p)
	if e := failure(t, err); !errors.Is(err, thriftclient.ErrNoHosts) || e.Sent || e.Attempts != 0 {
		t.Errorf("%+v", e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, thriftclient.ErrNoHosts) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	s := serve(t, storm.Options{})
	p = openSource(t, func(context.Context) iter.Seq2[[]thriftclient.Member, error] {
		return func(yield func([]thriftclient.Member, error) bool) { yield(nil, io.ErrUnexpectedEOF) }
	}, thriftclient.Options{Fallback: []string{s.Addr()}})
	mustEcho(t, p)
}

func TestWhyThereAreNoHostsIsSaid(t *testing.T) {
	p := open(t, thriftclient.Options{}, "10.0.0.1") // without a port: the source says so, and nothing after it
	for range 100 {
		if err := call(p); !errors.Is(err, thriftclient.ErrNoHosts) || !errors.Is(err, registry.ErrInvalid) {
			t.Fatalf("%v", err)
		}
	}
}

// call is one of which only the error matters.
func call(p *thriftclient.Pool) error {
	_, err := echo(context.Background(), p)
	return err
}

func TestMiddlewareSeesACallOnce(t *testing.T) {
	good := serve(t, storm.Options{})
	bad := strange(t, func(net.Conn, thrift.TProtocol) {})
	var mu sync.Mutex
	var seen []string
	note := func(name string) thrift.ClientMiddleware {
		return func(next thrift.TClient) thrift.TClient {
			return thrift.WrappedTClient{Wrapped: func(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
				mu.Lock()
				seen = append(seen, name+" "+method)
				mu.Unlock()
				return next.Call(ctx, method, args, result)
			}}
		}
	}
	p := open(t, thriftclient.Options{
		Idempotent: []string{"*"}, Balance: thriftclient.RoundRobin, Ejection: thriftclient.Ejection{Failures: -1},
		Middleware: []thrift.ClientMiddleware{note("outer"), note("inner")},
	}, bad, good.Addr())
	mustEcho(t, p)
	mustEcho(t, p)
	if want := []string{"outer echo", "inner echo", "outer echo", "inner echo"}; !slices.Equal(seen, want) {
		t.Errorf("%q", seen)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	if _, err := thriftclient.Open("", thriftclient.Options{}); err == nil {
		t.Error("a serverset without a name is accepted")
	}
	for _, o := range []thriftclient.Options{
		{Attempts: -1}, {MaxPerHost: -1}, {Subset: -1}, {Transport: 9}, {Protocol: 9}, {Balance: 9}, {Fallback: []string{"no port"}},
		{Ejection: thriftclient.Ejection{Share: 2}}, {Ejection: thriftclient.Ejection{Base: time.Hour}},
	} {
		if p, err := thriftclient.Open("x", o); err == nil {
			p.Close(context.Background())
			t.Errorf("%+v is accepted", o)
		}
	}
}
