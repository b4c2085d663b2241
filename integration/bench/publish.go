package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
)

const (
	publishName  = registry.Name("config.manageddata.bench.publish")
	publishCount = 100
)

// publishes compares a write to the mount, to the return of close, with the writes to the registry that it makes.
func (b *bench) publishes(ctx context.Context) error {
	o, err := b.site("publish")
	if err != nil {
		return err
	}
	m, err := integration.Start(ctx, o)
	if err != nil {
		return err
	}
	defer m.Stop()
	if err := writeConfig(ctx, m, string(publishName), "first"); err != nil {
		return err
	}
	bare, err := openBare(ctx, filepath.Join(b.dir, "bare.db"))
	if err != nil {
		return err
	}
	defer bare.registry.Close()

	var ours, theirs []time.Duration
	for round := range b.rounds {
		took, err := each(func(i int) error {
			return os.WriteFile(m.Path("config", string(publishName)), body(round, i), 0o664)
		})
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = each(func(i int) error { return bare.publish(ctx, body(round, i)) }); err != nil {
			return err
		}
		theirs = append(theirs, took)
	}
	b.compare("publish 1 KB, until close returns (bare: its writes to the registry)", "1.3", ours, theirs)
	return nil
}

// each is the time that one of many calls took, by the median.
func each(call func(i int) error) (time.Duration, error) {
	took := make([]time.Duration, publishCount)
	for i := range took {
		started := time.Now()
		if err := call(i); err != nil {
			return 0, err
		}
		took[i] = time.Since(started)
	}
	return median(took), nil
}

// body is 1 KB that was never published before.
func body(round, i int) []byte {
	b := make([]byte, readSize)
	copy(b, fmt.Sprintf("round %d, publish %d\n", round, i))
	return b
}

// bareRegistry makes the writes of a publish, and nothing else.
type bareRegistry struct {
	registry *embedded.Registry
	version  registry.Version
}

func openBare(ctx context.Context, path string) (*bareRegistry, error) {
	r, err := embedded.Open(path, embedded.Options{})
	if err != nil {
		return nil, err
	}
	return &bareRegistry{registry: r}, r.Create(ctx, publishName.Pointer())
}

func (b *bareRegistry) publish(ctx context.Context, data []byte) error {
	next := registry.NextVersion(time.Now(), b.version)
	key := publishName.Pointer().Key(next)
	if err := b.registry.Put(ctx, key, registry.Body{Data: data, Meta: registry.Meta{SHA256: registry.Sum(data)}}); err != nil {
		return err
	}
	_, err := b.registry.Advance(ctx, publishName.Pointer(), b.version, next, func(ctx context.Context) error {
		return b.registry.PutIndex(ctx, publishName.Pointer().IndexKey(), next)
	})
	b.version = next
	return err
}
