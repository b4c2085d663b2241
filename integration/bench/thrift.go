package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

const (
	thriftServers = 8
	thriftCallers = 64
	thriftBursts  = 8     // of each side in a round, in turn: a machine is not equally fast for long
	thriftCalls   = 1000  // of a caller in a burst, one at a time
	thriftBusy    = 200   // of each of many callers in a burst
	thriftAllocs  = 10000 // calls over which allocations are counted

	stormServers = 10
	stormCallers = 8
	stormWork    = time.Millisecond // of a server for one call
	stormGrace   = 2 * time.Second  // from a fault until the latency should be as before
	stormLook    = 2 * time.Second
	stormRounds  = 3
)

// thrift compares a pool with bare clients, and with itself after a fault.
func (b *bench) thrift(ctx context.Context) error {
	var servers []*storm.Process
	defer func() {
		for _, s := range servers {
			s.Kill()
		}
	}()
	for len(servers) < thriftServers {
		s, err := storm.Start(storm.Options{})
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	if err := b.thriftSingle(ctx, servers[0].Addr); err != nil {
		return err
	}
	if err := b.thriftMany(ctx, servers); err != nil {
		return err
	}
	for _, fault := range []string{"killed", "black-holed"} {
		if err := b.thriftFault(ctx, fault); err != nil {
			return err
		}
	}
	return nil
}

// bareThrift is a client as one writes it without a pool.
func bareThrift(addr string) (client *thrift.TStandardClient, done func() error, err error) {
	socket := thrift.NewTSocketConf(addr, &thrift.TConfiguration{ConnectTimeout: time.Second, SocketTimeout: 5 * time.Second})
	if err := socket.Open(); err != nil {
		return nil, nil, err
	}
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(socket, 4096), nil)
	return thrift.NewTStandardClient(p, p), socket.Close, nil
}

func openThrift(ctx context.Context, addrs ...string) (*thriftclient.Pool, error) {
	p, err := thriftclient.OpenSource(thriftclient.Static(addrs...), thriftclient.Options{Idempotent: []string{"echo"}})
	if err == nil {
		err = p.Wait(ctx)
	}
	return p, err
}

// burst makes calls, one after the other, and says how long one took.
func burst(ctx context.Context, c thrift.TClient, calls int) (time.Duration, error) {
	client := stormservice.NewStormClient(c)
	start := time.Now()
	for id := range int64(calls) {
		if answer, err := client.Echo(ctx, id, 0, nil); err != nil || answer.ID != id {
			return 0, fmt.Errorf("call %d: %v, %w", id, answer, err)
		}
	}
	return time.Since(start) / time.Duration(calls), nil
}

func (b *bench) thriftSingle(ctx context.Context, addr string) error {
	bare, done, err := bareThrift(addr)
	if err != nil {
		return err
	}
	defer done()
	pool, err := openThrift(ctx, addr)
	if err != nil {
		return err
	}
	defer pool.Close(ctx)
	clients := []thrift.TClient{pool, bare}
	series := make([][]time.Duration, len(clients))
	for range b.rounds * thriftBursts {
		for i, c := range clients {
			took, err := burst(context.Background(), c, thriftCalls)
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			series[i] = append(series[i], took)
		}
	}
	b.compare("Thrift call, one at a time (bare: TStandardClient)", "1.05", series[0], series[1])
	var allocations [2]float64
	for i, c := range clients {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := burst(context.Background(), c, thriftAllocs); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		allocations[i] = float64(after.Mallocs-before.Mallocs) / thriftAllocs
	}
	b.add(row{"  allocations", fmt.Sprintf("%.1f", allocations[0]), fmt.Sprintf("%.1f", allocations[1]),
		fmt.Sprintf("%+.1f", max(0, allocations[0]-allocations[1])), "+4"})
	return nil
}

// thriftMany has many callers call at once: bare clients know no context, so ours has none to listen to in the first row.
func (b *bench) thriftMany(ctx context.Context, servers []*storm.Process) error {
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	pool, err := openThrift(ctx, addrs...)
	if err != nil {
		return err
	}
	defer pool.Close(ctx)
	ours, bare := make([]thrift.TClient, thriftCallers), make([]thrift.TClient, thriftCallers)
	for i := range bare {
		client, done, err := bareThrift(addrs[i%len(addrs)])
		if err != nil {
			return err
		}
		defer done()
		ours[i], bare[i] = pool, client
	}
	sides := []struct {
		clients     []thrift.TClient
		cancellable bool
	}{{ours, false}, {bare, false}, {ours, true}}
	series := make([][]time.Duration, len(sides))
	for range b.rounds * thriftBursts {
		for i, side := range sides {
			took, err := together(ctx, side.clients, side.cancellable)
			if err != nil {
				return err
			}
			series[i] = append(series[i], took)
		}
	}
	b.compare("Thrift call, 64 callers on 8 servers (bare: 64 TStandardClients)", "1.05", series[0], series[1])
	b.compare("  each with a context that can be cancelled", "", series[2], series[1])
	return nil
}

// together has all clients call at the same time, and says how long a call took of the time of all.
func together(ctx context.Context, clients []thrift.TClient, cancellable bool) (time.Duration, error) {
	errs := make([]error, len(clients))
	var all sync.WaitGroup
	start := time.Now()
	for i, c := range clients {
		all.Go(func() {
			own := context.Background()
			if cancellable {
				var cancel context.CancelFunc
				own, cancel = context.WithCancel(own)
				defer cancel()
			}
			_, errs[i] = burst(own, c, thriftBusy)
		})
	}
	all.Wait()
	took := time.Since(start) / time.Duration(thriftBusy*len(clients))
	return took, errors.Join(append(errs, ctx.Err())...)
}

// thriftFault compares the p99 from two seconds after a fault of one of ten servers with that of bare clients of another server, to
// which nothing happens, at the same time.
func (b *bench) thriftFault(ctx context.Context, fault string) error {
	var ours, bare []time.Duration
	for range min(b.rounds, stormRounds) {
		took, err := stormRound(ctx, fault)
		if errors.Is(err, errNoCable) {
			fmt.Printf("one of ten %s: %v\n", fault, err)
			return nil
		}
		if err != nil {
			return err
		}
		ours, bare = append(ours, took[0]), append(bare, took[1])
	}
	b.compare("Thrift p99, 2 s after one of ten servers is "+fault+" (bare: of a healthy server)", "2", ours, bare)
	return nil
}

// errNoCable: the machine cannot have a server in a network of its own.
var errNoCable = errors.New("not measured")

// stormRound is one fault: the p99 of the pool after it, and that of bare clients.
func stormRound(ctx context.Context, fault string) (took [2]time.Duration, err error) {
	var servers []*storm.Process
	defer func() {
		for _, s := range servers {
			s.Kill()
		}
	}()
	strike := func() error { servers[0].Kill(); return nil }
	if fault == "black-holed" {
		far, err := storm.StartFar(storm.Options{})
		if err != nil {
			return took, fmt.Errorf("%w: %w", errNoCable, err)
		}
		servers, strike = append(servers, far.Process), far.Cut
	}
	var addrs []string
	for len(servers) <= stormServers {
		s, err := storm.Start(storm.Options{})
		if err != nil {
			return took, err
		}
		servers = append(servers, s)
	}
	for _, s := range servers[:stormServers] {
		addrs = append(addrs, s.Addr)
	}
	pool, err := openThrift(ctx, addrs...)
	if err != nil {
		return took, err
	}
	defer pool.Close(ctx)
	ours, bare := make([]thrift.TClient, stormCallers), make([]thrift.TClient, stormCallers)
	for i := range bare {
		client, done, err := bareThrift(servers[stormServers].Addr)
		if err != nil {
			return took, err
		}
		defer done()
		ours[i], bare[i] = pool, client
	}
	if _, err := stormLoad(ctx, stormLook, ours, bare); err != nil {
		return took, err
	}
	if err := strike(); err != nil {
		return took, err
	}
	if _, err := stormLoad(ctx, stormGrace, ours, bare); err != nil {
		return took, err
	}
	return stormLoad(ctx, stormLook, ours, bare)
}

// stormLoad has two groups of clients call for a while, and says what the p99 of each was. An error is one of a call.
func stormLoad(ctx context.Context, d time.Duration, groups ...[]thrift.TClient) (quantiles [2]time.Duration, err error) {
	took, errs := make([][][]time.Duration, len(groups)), make([]error, len(groups)*stormCallers)
	var all sync.WaitGroup
	until := time.Now().Add(d)
	for g, clients := range groups {
		took[g] = make([][]time.Duration, len(clients))
		for i, c := range clients {
			all.Go(func() {
				client, failed := stormservice.NewStormClient(c), &errs[g*stormCallers+i]
				for start := time.Now(); start.Before(until) && *failed == nil; start = time.Now() {
					_, *failed = client.Echo(ctx, int64(i), int32(stormWork.Microseconds()), nil)
					took[g][i] = append(took[g][i], time.Since(start))
				}
			})
		}
	}
	all.Wait()
	for g := range groups {
		sorted := slices.Sorted(slices.Values(slices.Concat(took[g]...)))
		quantiles[g] = sorted[len(sorted)*99/100]
	}
	return quantiles, errors.Join(errs...)
}
