package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
)

const (
	fleetName    = registry.Name("config.manageddata.bench.fleet")
	bareName     = registry.Name("config.manageddata.bench.bare") // followed by nobody
	fleetConfigs = 1000
	fleetCount   = 50               // publications a round
	hearLimit    = 10 * time.Second // for one of them to arrive
	getters      = 32               // GETs at a time, as many as a monitor makes
)

// fleet is what two machines have in common: real servers, on the loopback interface.
type fleet struct {
	*bench
	zookeeper   *server.ZooKeeper
	s3          *server.S3Server
	conf        string
	here, there *bareFleet // two machines without KingPin
}

// fleets compares what goes through a ZooKeeper and an S3 server with the same calls made by their libraries alone.
func (b *bench) fleets(ctx context.Context) error {
	f := &fleet{bench: b}
	defer f.end()
	if err := f.start(); err != nil {
		return err
	}
	for _, dependency := range []string{"fleet.dep", "bench.dep"} {
		if err := f.direct(ctx, "dep", "create", dependency); err != nil {
			return err
		}
	}
	if err := f.machines(ctx); err != nil {
		return err
	}
	return f.boots(ctx)
}

func (f *fleet) start() (err error) {
	dir := filepath.Join(f.dir, "fleet")
	if f.zookeeper, err = server.NewZooKeeper(filepath.Join(dir, "zookeeper")); err != nil {
		return err
	}
	if f.s3, err = server.NewS3(filepath.Join(dir, "s3")); err != nil {
		return err
	}
	if err := errors.Join(f.zookeeper.Start(), f.s3.Start()); err != nil {
		return err
	}
	keys := filepath.Join(dir, "aws.keys")
	f.conf = filepath.Join(dir, "kingpin.conf")
	for path, text := range map[string]string{
		keys: fmt.Sprintf("[Credentials]\naws_access_key_id = %s\naws_secret_access_key = %s\n", f.s3.AccessKey, f.s3.SecretKey),
		f.conf: fmt.Sprintf("zookeeper = %s\ns3-bucket = %s\ns3-endpoint = %s\ns3-path-style = yes\naws-key-file = %s\n",
			f.zookeeper.Addr, f.s3.Bucket, f.s3.Endpoint, keys),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	if f.here, err = dialBare(f.zookeeper, f.s3); err != nil {
		return err
	}
	f.there, err = dialBare(f.zookeeper, f.s3)
	return err
}

func (f *fleet) end() {
	for _, machine := range []*bareFleet{f.here, f.there} {
		if machine != nil {
			machine.close()
		}
	}
	if f.s3 != nil {
		f.s3.Kill()
	}
	if f.zookeeper != nil {
		f.zookeeper.Kill()
	}
}

// machine starts a monitor that has nothing yet.
func (f *fleet) machine(ctx context.Context, name, dependency string) (*integration.Monitor, error) {
	o, err := f.site(name, "--config", f.conf, "--dependency", dependency)
	if err != nil {
		return nil, err
	}
	return integration.Start(ctx, o)
}

// machines measures what two of them tell each other.
func (f *fleet) machines(ctx context.Context) error {
	a, err := f.machine(ctx, "a", "fleet.dep")
	if err != nil {
		return err
	}
	defer a.Stop()
	if err := f.prepare(ctx, a); err != nil {
		return err
	}
	write := func(data []byte) error { return os.WriteFile(a.Path("config", string(fleetName)), data, 0o664) }
	bare := func(data []byte) error { return f.here.publish(ctx, bareName.Pointer(), data) }
	if err := f.versus("fleet: publish 1 KB, until close returns (bare: its puts and ZooKeeper calls)", "1.3",
		timed(write), timed(bare)); err != nil {
		return err
	}

	b, err := f.machine(ctx, "b", "fleet.dep") // only now: it has no part in the above, but would share the cores
	if err != nil {
		return err
	}
	defer b.Stop()
	heard, err := listen(b.Path("config"))
	if err != nil {
		return err
	}
	defer heard.close()
	arrives := func(publish func() error, data []byte) (time.Duration, error) {
		return heard.next(b.Path("config", string(fleetName)), data, publish)
	}
	if err := f.versus("fleet: publish on one machine -> inotify event on another (bare: its calls -> watch, get)", "1.5",
		func(data []byte) (time.Duration, error) {
			return arrives(func() error { return write(data) }, data)
		},
		func(data []byte) (time.Duration, error) {
			return f.there.hear(ctx, bareName.Pointer(), func() error { return bare(data) })
		}); err != nil {
		return err
	}

	if err := a.Stop(); err != nil { // it would get the body too
		return err
	}
	return f.versus("  from the moment the pointer moves (bare: watch, get)", "1.5",
		func(data []byte) (time.Duration, error) {
			move, err := f.stored(ctx, fleetName.Pointer(), data)
			if err != nil {
				return 0, err
			}
			return arrives(move, data)
		},
		func(data []byte) (time.Duration, error) {
			move, err := f.stored(ctx, bareName.Pointer(), data)
			if err != nil {
				return 0, err
			}
			return f.there.hear(ctx, bareName.Pointer(), move)
		})
}

// prepare makes a config, and a pointer that nobody follows.
func (f *fleet) prepare(ctx context.Context, a *integration.Monitor) error {
	if err := writeConfig(ctx, a, string(fleetName), "first"); err != nil {
		return err
	}
	if err := f.here.makeNode(string(bareName.Pointer()) + ".lock"); err != nil {
		return err
	}
	return f.here.makeNode(string(bareName.Pointer()))
}

// stored puts a body, and returns what is left to do for its publication.
func (f *fleet) stored(ctx context.Context, p registry.Pointer, data []byte) (move func() error, err error) {
	next := registry.NextVersion(time.Now(), "")
	if err := f.here.put(ctx, p.Key(next), data, true); err != nil {
		return nil, err
	}
	return func() error { return f.here.move(p, next) }, nil
}

// holds is nil if a file does.
func holds(path string, data []byte) error {
	found, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(found, data) {
		err = fmt.Errorf("%s holds something else, %d bytes", path, len(found))
	}
	return err
}

// trial publishes something once and says how long it took.
type trial func(data []byte) (time.Duration, error)

func timed(publish func(data []byte) error) trial {
	return func(data []byte) (time.Duration, error) {
		started := time.Now()
		err := publish(data)
		return time.Since(started), err
	}
}

// versus lets ours and the bare one take turns.
func (f *fleet) versus(what, budget string, ours, bare trial) error {
	var series [2][]time.Duration
	for round := range f.rounds {
		for side, try := range []trial{ours, bare} {
			took := make([]time.Duration, fleetCount)
			for i := range took {
				var err error
				if took[i], err = try(body(round, i)); err != nil {
					return err
				}
			}
			series[side] = append(series[side], median(took))
		}
	}
	f.compare(what, budget, series[0], series[1])
	return nil
}
