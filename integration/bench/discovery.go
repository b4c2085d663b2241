package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/registry"
)

const (
	joinSet   = registry.Name("discovery.bench.join") // what our machines join
	crowdSet  = registry.Name("discovery.bench.crowd")
	bareSet   = registry.Name("discovery.bench.bare") // followed by nobody of ours
	joinCount = 20                                    // a round
	joinPause = 150 * time.Millisecond                // a file that changes ten times a second changes later
	crowdSize = 10_000                                // members of the large set
	crowdPace = 1_000                                 // joins a second
	joiners   = 16                                    // at a time
	arrival   = 2 * time.Minute                       // at most, for the crowd to be in the file
)

// discovery compares how one machine hears of what another has registered, and has ten thousand join.
func (b *bench) discovery(ctx context.Context) error {
	f := &fleet{bench: b}
	defer f.end()
	if err := f.start(); err != nil {
		return err
	}
	if err := f.direct(ctx, "dep", "create", "fleet.dep"); err != nil {
		return err
	}
	for _, set := range []registry.Name{joinSet, crowdSet} {
		if err := f.direct(ctx, "create", string(set), "--dep", "fleet.dep"); err != nil {
			return err
		}
	}
	if err := f.here.makeNode(string(bareSet.Pointer())); err != nil {
		return err
	}
	there, err := f.machine(ctx, "b", "fleet.dep")
	if err != nil {
		return err
	}
	defer there.Stop()
	heard, err := listen(there.Path("serverset"))
	if err != nil {
		return err
	}
	defer heard.close()
	if err := f.joins(ctx, there, heard); err != nil {
		return err
	}
	return f.crowd(ctx, there, heard)
}

// joins registers on one machine and waits for the event on the other; the bare one makes the node, and hears of it by its watch.
func (f *fleet) joins(ctx context.Context, there *integration.Monitor, heard listener) error {
	here, err := f.machine(ctx, "a", "fleet.dep")
	if err != nil {
		return err
	}
	defer here.Stop()
	var held []*os.File
	defer func() {
		for _, file := range held {
			file.Close()
		}
	}()
	serial := 0
	next := func() string { serial++; return fmt.Sprintf("10.1.%d.%d:9090", serial/200, serial%200+1) }
	ours := func() (time.Duration, error) {
		endpoint := next()
		return heard.shows(there.Path("serverset", string(joinSet)), endpoint, func() error {
			file, err := os.OpenFile(here.Path(".register", string(joinSet), endpoint), os.O_WRONLY|os.O_CREATE, 0o644)
			if err == nil {
				held = append(held, file)
			}
			return err
		})
	}
	bare := func() (time.Duration, error) {
		return f.there.hearsJoin(ctx, bareSet.Pointer(), func() error { return f.here.join(bareSet.Pointer(), next()) })
	}
	var series [2][]time.Duration
	for range f.rounds {
		for side, try := range []func() (time.Duration, error){ours, bare} {
			took := make([]time.Duration, joinCount)
			for i := range took {
				if err := pause(ctx, joinPause); err != nil {
					return err
				}
				if took[i], err = try(); err != nil {
					return err
				}
			}
			series[side] = append(series[side], median(took))
		}
	}
	f.compare("discovery: join on one machine -> inotify event on another (bare: create -> watch, getChildren)", "", series[0], series[1])
	return nil
}

// crowd has ten thousand members join, a thousand a second, and then one more.
func (f *fleet) crowd(ctx context.Context, there *integration.Monitor, heard listener) error {
	path := there.Path("serverset", string(crowdSet))
	ours, err := processes(there)
	if err != nil {
		return err
	}
	before := snapshot(ours)
	started := time.Now()
	if err := f.gather(ctx); err != nil {
		return err
	}
	joined := time.Now()
	for lines := 0; lines < crowdSize; {
		if time.Since(joined) > arrival {
			return fmt.Errorf("%d members have joined, and the file shows %d", crowdSize, lines)
		}
		if _, err := heard.names(); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines = bytes.Count(content, []byte("\n"))
	}
	worked := snapshot(ours).since(before, time.Since(started))
	f.add(row{what: fmt.Sprintf("discovery: %d joins at %.0f a second: the last one is in the file after", crowdSize, crowdSize/joined.Sub(started).Seconds()), ours: short(time.Since(joined))})
	f.add(row{what: "  CPU of the machine that follows, of one core", ours: percent(worked.all().cpu)})
	resident, err := residentBytes(ours["server"])
	if err != nil {
		return err
	}
	f.add(row{what: "  memory of its server", ours: mebibytes(resident)})

	var series [2][]time.Duration
	for i := range f.rounds {
		if err := pause(ctx, joinPause); err != nil {
			return err
		}
		endpoint := fmt.Sprintf("10.3.0.%d:9090", i+1)
		took, err := heard.shows(path, endpoint, func() error { return f.here.join(crowdSet.Pointer(), endpoint) })
		if err != nil {
			return err
		}
		series[0] = append(series[0], took)
		if took, err = f.there.hearsJoin(ctx, crowdSet.Pointer(), func() error { return f.here.join(crowdSet.Pointer(), fmt.Sprintf("10.4.0.%d:9090", i+1)) }); err != nil {
			return err
		}
		series[1] = append(series[1], took)
	}
	f.compare(fmt.Sprintf("discovery: one joins %d -> inotify event on another (bare: create -> watch, getChildren)", crowdSize), "", series[0], series[1])
	return nil
}

// gather makes the nodes of the crowd, as if each were another machine's.
func (f *fleet) gather(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var work sync.WaitGroup
	for range joiners {
		work.Go(func() {
			for n := range numbers {
				if err := f.here.join(crowdSet.Pointer(), fmt.Sprintf("10.2.%d.%d:9090", n/200, n%200+1)); err != nil {
					cancel(err)
				}
			}
		})
	}
	pace := time.NewTicker(time.Second / 100)
	defer pace.Stop()
	for n := 0; n < crowdSize && ctx.Err() == nil; {
		<-pace.C
		for range crowdPace / 100 {
			numbers <- n
			n++
		}
	}
	close(numbers)
	work.Wait()
	return context.Cause(ctx)
}

// shows says how long it took from act until an event of a file came that has the line.
func (l listener) shows(path, line string, act func() error) (time.Duration, error) {
	started := time.Now()
	if err := act(); err != nil {
		return 0, err
	}
	for {
		if _, err := l.names(); err != nil {
			return 0, err
		}
		took := time.Since(started)
		content, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		if bytes.Contains(content, []byte(line+"\n")) {
			return took, nil
		}
	}
}

// join makes the node of a member.
func (f *bareFleet) join(set registry.Pointer, endpoint string) error {
	node := string(set) + "/" + registry.MemberNode(registry.Endpoint(endpoint))
	_, err := f.conn.Create(node, []byte(endpoint), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	return err
}

// hearsJoin says how long it takes from join until who watches the set has listed it again.
func (f *bareFleet) hearsJoin(ctx context.Context, set registry.Pointer, join func() error) (time.Duration, error) {
	before, _, changed, err := f.conn.ChildrenW(string(set))
	if err != nil {
		return 0, err
	}
	started := time.Now()
	if err := join(); err != nil {
		return 0, err
	}
	select {
	case <-changed:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, _, _, err := f.conn.ChildrenW(string(set))
	took := time.Since(started)
	if err == nil && len(after) != len(before)+1 {
		err = fmt.Errorf("%s has %d members after %d", set, len(after), len(before))
	}
	return took, err
}
