package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/registry"
)

// bootPause is how long a file that is not there yet is left alone, a hundredth or so of what is measured.
const bootPause = 10 * time.Millisecond

// boots compares the first start of a machine, until all its configs have been read from the mount, with getting them.
func (f *fleet) boots(ctx context.Context) error {
	o, err := f.site("seeding", "--config", f.conf, "--dependency", "bench.dep")
	if err != nil {
		return err
	}
	if err := seed(ctx, o, fleetConfigs); err != nil {
		return err
	}
	pointers := make([]registry.Pointer, fleetConfigs)
	for i := range pointers {
		pointers[i] = registry.Name(configName(i)).Pointer()
	}
	urls, err := f.here.signed(ctx, pointers)
	if err != nil {
		return err
	}
	var ours, bare []time.Duration
	for round := range f.rounds {
		took, err := f.boot(ctx, fmt.Sprintf("boot%d", round))
		if err != nil {
			return err
		}
		ours = append(ours, took)
		started := time.Now()
		if err := f.here.getAll(ctx, urls); err != nil {
			return err
		}
		bare = append(bare, time.Since(started))
	}
	f.compare(fmt.Sprintf("fleet: first boot with %d configs, until all were read (bare: %d GETs at a time)", fleetConfigs, getters),
		"1.5", ours, bare)
	return nil
}

// boot starts a monitor without a state.
func (f *fleet) boot(ctx context.Context, name string) (took time.Duration, err error) {
	o, err := f.site(name, "--config", f.conf, "--dependency", "bench.dep")
	if err != nil {
		return 0, err
	}
	o.Unready = true
	started := time.Now()
	m, err := integration.Start(ctx, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	for i := range fleetConfigs {
		for servedByFUSE(m.Path("config", configName(i))) != nil {
			// More often than this would be work for whom it waits for.
			if err := pause(ctx, bootPause); err != nil || time.Since(started) > startLimit {
				return 0, fmt.Errorf("%s is not there after %s (%v)\n%s", configName(i), short(time.Since(started)), err, m.Log())
			}
		}
	}
	return time.Since(started), nil
}

// direct runs a verb on a machine without a monitor.
func (f *fleet) direct(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, f.kingpin, append(args, "--direct", "--config", f.conf, "--quiet")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kingpin %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
