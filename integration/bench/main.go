// Bench measures the built binary beside the bare thing in the same run, and prints one table.
//
// Figures are medians of five rounds in which ours and the bare one take turns. A client runs pinned to one core beside its
// server, since waking another core would be most of what is measured; only a fleet, with its servers, has all cores. Nothing is
// asserted: a machine under load prints worse figures, and the ratio is what to look at.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/integration/storm"
)

// bench is one run: what it was told, and what it has measured so far.
type bench struct {
	kingpin string // the binary
	dir     string // everything it makes lies below
	names   int    // configs of the large state
	rounds  int
	idle    time.Duration
	only    string // the part to measure; empty: all of them
	rows    []row
}

func main() {
	if served, err := storm.Main(); served { // this process is to be a Thrift server
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(idleProgram) != "" {
		doNothing()
	}
	b := &bench{}
	flag.StringVar(&b.kingpin, "kingpin", "bin/kingpin", "the `binary` to measure")
	flag.IntVar(&b.names, "names", 10_000, "`how many` configs a machine follows")
	flag.IntVar(&b.rounds, "rounds", 5, "`how often` each figure is measured; the median counts")
	flag.DurationVar(&b.idle, "idle", time.Minute, "`how long` to look at an idle monitor")
	flag.StringVar(&b.only, "only", "", "the `part` to measure: reads, publishes, scale, fleet, discovery, thrift or libraries")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.kingpin, err = filepath.Abs(b.kingpin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, integration.Unmount(b.dir), os.RemoveAll(b.dir))
	}()
	parts := []struct {
		name    string
		measure func(context.Context) error
	}{{"reads", b.reads}, {"publishes", b.publishes}, {"scale", b.scale}, {"fleet", b.fleets}, {"discovery", b.discovery}, {"thrift", b.thrift}, {"libraries", b.libraries}}
	for _, part := range parts {
		if b.only != "" && b.only != part.name {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	fmt.Printf("\n%s", table(b.rows))
	return nil
}

// site makes the directories of a monitor called name.
func (b *bench) site(name string, flags ...string) (integration.Options, error) {
	o := integration.Options{
		Binary: b.kingpin,
		Mount:  filepath.Join(b.dir, name, "mount"),
		State:  filepath.Join(b.dir, name, "state"),
		Flags:  flags,
	}
	return o, os.MkdirAll(o.Mount, 0o755)
}
