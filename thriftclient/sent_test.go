package thriftclient_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// strange is a server that answers each request by a function of the connection.
func strange(t *testing.T, answer func(c net.Conn, request thrift.TProtocol)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				answer(c, thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(c, nil), 4096), nil))
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

// reply answers requests with the id they ask for, after it was changed.
func reply(sequence func(int32) int32, name func(string) string) func(net.Conn, thrift.TProtocol) {
	return func(_ net.Conn, p thrift.TProtocol) {
		ctx := context.Background()
		for {
			method, _, id, err := p.ReadMessageBegin(ctx)
			if err != nil {
				return
			}
			args := stormservice.NewStormEchoArgs()
			if args.Read(ctx, p) != nil || p.ReadMessageEnd(ctx) != nil {
				return
			}
			result := &stormservice.StormEchoResult{Success: &stormservice.Answer{ID: args.ID}}
			_ = p.WriteMessageBegin(ctx, name(method), thrift.REPLY, sequence(id))
			_ = result.Write(ctx, p)
			_ = p.WriteMessageEnd(ctx)
			_ = p.Flush(ctx)
		}
	}
}

func same[T any](v T) T { return v }

func TestAnAnswerToSomethingElseIsNotTaken(t *testing.T) {
	for what, handler := range map[string]func(net.Conn, thrift.TProtocol){
		"an earlier sequence id": reply(func(id int32) int32 { return id - 1 }, same[string]),
		"another method":         reply(same[int32], func(string) string { return "once" }),
		"garbage": func(c net.Conn, p thrift.TProtocol) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = c.Write([]byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 10)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := open(t, thriftclient.Options{Warm: -1, Timeout: patience}, strange(t, handler))
			_, err := echo(context.Background(), p)
			if e := failure(t, err); !e.Sent || e.Attempts != 1 {
				t.Errorf("%+v", e)
			}
			eventually(t, "the connection is closed", func() bool { return p.Hosts()[0].Connections == 0 })
		})
	}
}

func TestWhatIsBehindAnAnswerIsNotTheNextOne(t *testing.T) {
	for name, o := range map[string]thriftclient.Options{
		"buffered": {},
		"framed":   {Transport: thriftclient.Framed},
	} {
		t.Run(name, func(t *testing.T) {
			addr := strange(t, func(c net.Conn, p thrift.TProtocol) {
				if name == "framed" {
					p = thrift.NewTBinaryProtocolConf(thrift.NewTFramedTransportConf(thrift.NewTSocketFromConnConf(c, nil), nil), nil)
				}
				reply(same[int32], same[string])(c, chatty{p})
			})
			o.Timeout, o.Warm = patience, -1
			p := open(t, o, addr)
			for range 5 {
				mustEcho(t, p)
			}
		})
	}
}

// chatty says more at the end of a message than belongs there.
type chatty struct{ thrift.TProtocol }

func (p chatty) WriteMessageEnd(ctx context.Context) error {
	return errors.Join(p.TProtocol.WriteMessageEnd(ctx), p.WriteString(ctx, "garbage"))
}

func TestSentIsExact(t *testing.T) {
	ctx := context.Background()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := l.Addr().String()
	l.Close()
	t.Run("nobody listens", func(t *testing.T) {
		_, err := echo(ctx, open(t, thriftclient.Options{}, refusing))
		if e := failure(t, err); e.Sent || e.Attempts < 2 || e.Host != refusing {
			t.Errorf("%+v", e)
		}
	})
	t.Run("nobody listens, anywhere", func(t *testing.T) {
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		for rounds := 1; rounds < 5; rounds++ {
			for _, all := range [][]string{{refusing}, {refusing, other.Addr().String()}} {
				p := open(t, thriftclient.Options{Attempts: rounds, Warm: -1, Timeout: patience}, all...)
				_, err = echo(ctx, p)
				if e := failure(t, err); e.Attempts != rounds*len(all) {
					t.Errorf("%d hosts, %d rounds: %v", len(all), rounds, e)
				}
			}
		}
	})
	t.Run("it reads, and hangs up", func(t *testing.T) {
		addr := strange(t, func(c net.Conn, _ thrift.TProtocol) { _, _ = c.Read(make([]byte, 100)) })
		_, err := stormservice.NewStormClient(open(t, thriftclient.Options{}, addr)).Once(ctx, 1)
		if e := failure(t, err); !e.Sent || e.Attempts != 1 {
			t.Errorf("%+v", e)
		}
	})
	t.Run("what cannot be written", func(t *testing.T) {
		s := serve(t, storm.Options{})
		p := open(t, thriftclient.Options{Idempotent: []string{"*"}}, s.Addr())
		_, err := p.Call(ctx, "echo", unwritable{}, &stormservice.StormEchoResult{})
		if e := failure(t, err); e.Sent || e.Attempts != 1 || !errors.Is(err, errUnwritable) {
			t.Errorf("%+v", e)
		}
		mustEcho(t, p)
		if n := s.Stats().Executed; n != 1 {
			t.Errorf("%d requests arrived", n)
		}
	})
	t.Run("the server has closed the idle connections", func(t *testing.T) {
		s := serve(t, storm.Options{})
		p := open(t, thriftclient.Options{}, s.Addr())
		mustEcho(t, p)
		s.Refuse()
		if err := s.Accept(); err != nil {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond) // idle for long enough to be looked at
		if _, err := stormservice.NewStormClient(p).Once(ctx, 1); err != nil {
			t.Error(err)
		}
	})
}

var errUnwritable = errors.New("it makes no sense")

// unwritable is a request that has mistakes in it.
type unwritable struct{}

func (unwritable) Read(context.Context, thrift.TProtocol) error { return errUnwritable }

func (unwritable) Write(ctx context.Context, p thrift.TProtocol) error {
	return errors.Join(p.WriteString(ctx, "a beginning"), errUnwritable)
}

func TestOnlyWhatIsSafeIsSentAgain(t *testing.T) {
	ctx := context.Background()
	hangsUp := func(c net.Conn, _ thrift.TProtocol) { _, _ = c.Read(make([]byte, 100)) }
	bad := []string{strange(t, hangsUp), strange(t, hangsUp)}
	good := serve(t, storm.Options{})
	options := thriftclient.Options{Balance: thriftclient.Random, Idempotent: []string{"echo"}, Ejection: thriftclient.Ejection{Failures: -1, Below: -1}}
	p := open(t, options, append(bad, good.Addr())...)
	once := 0
	const calls = 100
	for range calls {
		if host := mustEcho(t, p); host != good.Addr() {
			t.Errorf("an answer of %s", host)
		}
		if _, err := stormservice.NewStormClient(p).Once(ctx, 1); err == nil {
			once++
		} else if e := failure(t, err); e.Attempts != 1 || !e.Sent {
			t.Errorf("%+v", e)
		}
	}
	if once == calls || once == 0 {
		t.Errorf("%d of %d calls that are never sent twice came through two bad hosts and a good one", once, calls)
	}
}

func TestHalfAnAnswerIsForgotten(t *testing.T) {
	// It has refused, and dies before the answer is complete. Generated code would find the refusal beside the next host's answer.
	half := strange(t, func(_ net.Conn, p thrift.TProtocol) {
		ctx := context.Background()
		method, _, id, err := p.ReadMessageBegin(ctx)
		if err != nil || stormservice.NewStormOnceArgs().Read(ctx, p) != nil {
			return
		}
		_ = p.WriteMessageBegin(ctx, method, thrift.REPLY, id)
		_ = p.WriteStructBegin(ctx, "once_result")
		_ = p.WriteFieldBegin(ctx, "refused", thrift.STRUCT, 1)
		_ = (&stormservice.Refused{Reason: "half of it"}).Write(ctx, p)
		_ = p.WriteFieldEnd(ctx)
		_ = p.Flush(ctx)
	})
	good := serve(t, storm.Options{})
	for _, hedge := range []bool{false, true} {
		p := open(t, thriftclient.Options{
			Idempotent: []string{"*"}, Hedge: hedge, Balance: thriftclient.RoundRobin, Ejection: thriftclient.Ejection{Failures: -1, Below: -1},
		}, half, good.Addr())
		for id := range int64(20) {
			if answer, err := stormservice.NewStormClient(p).Once(context.Background(), id); err != nil || answer.ID != id {
				t.Fatalf("hedge %v: %v, %v", hedge, answer, err)
			}
		}
	}
}
