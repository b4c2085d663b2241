package thriftclient_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// process starts a server in a process of its own.
func process(t testing.TB, o storm.Options) *storm.Process {
	t.Helper()
	p, err := storm.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// bare is a client as one writes it without us: a socket, a buffer, a protocol.
func bare(t testing.TB, addr string) *thrift.TStandardClient {
	t.Helper()
	socket := thrift.NewTSocketConf(addr, &thrift.TConfiguration{ConnectTimeout: time.Second, SocketTimeout: 5 * time.Second})
	if err := socket.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(socket, 4096), nil)
	return thrift.NewTStandardClient(p, p)
}

func one(b *testing.B, ctx context.Context, c *stormservice.StormClient, id int64) {
	answer, err := c.Echo(ctx, id, 0, nil)
	if err != nil || answer.ID != id {
		b.Fatalf("%v, %v", answer, err)
	}
}

// cpu has a benchmark say how much of a processor a call takes in this process, which a busy machine does not change as it changes
// the time.
func cpu(b *testing.B) (done func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkOneAtATime(b *testing.B) {
	s := process(b, storm.Options{})
	p := open(b, thriftclient.Options{}, s.Addr)
	timed, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, run := range []struct {
		name   string
		client thrift.TClient
		ctx    context.Context
	}{
		{"bare", bare(b, s.Addr), context.Background()},
		{"pool", p, context.Background()},
		{"pool with a deadline", p, timed},
	} {
		b.Run(run.name, func(b *testing.B) {
			c := stormservice.NewStormClient(run.client)
			b.ReportAllocs()
			defer cpu(b)()
			for i := range b.N {
				one(b, run.ctx, c, int64(i))
			}
		})
	}
}

func Benchmark64CallersOn8Servers(b *testing.B) {
	const callers, servers = 64, 8
	var addrs []string
	for range servers {
		addrs = append(addrs, process(b, storm.Options{}).Addr)
	}
	p := open(b, thriftclient.Options{}, addrs...)
	clients := make([]thrift.TClient, callers)
	for i := range clients {
		clients[i] = bare(b, addrs[i%servers])
	}
	for _, run := range []struct {
		name        string
		client      func(i int) thrift.TClient
		cancellable bool // the context of each caller
	}{
		{"bare", func(i int) thrift.TClient { return clients[i] }, false},
		{"pool", func(int) thrift.TClient { return p }, false},
		{"pool with contexts", func(int) thrift.TClient { return p }, true},
	} {
		b.Run(run.name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			var next atomic.Int32
			b.SetParallelism(callers / 2) // times the processors, of which there are two in most places
			b.RunParallel(func(pb *testing.PB) {
				c := stormservice.NewStormClient(run.client(int(next.Add(1)-1) % callers))
				ctx := context.Background()
				if run.cancellable {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					defer cancel()
				}
				for i := int64(0); pb.Next(); i++ {
					one(b, ctx, c, i)
				}
			})
		})
	}
}
