package keeper

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what to mount where and how to start the children.
type Config struct {
	Mount  string   // the mount point: an existing, empty directory
	Server []string // command line of the server, which calls Attach; the file that it means now is run whenever one dies
	Poker  []string // command line of the poker, which calls Poke
	Under  string   // a directory of plain files to lay under the mount, once it exists; "": none
	Cover  bool     // at a stop, leave the mount there, dead, and lay the files of Under over it
	Env    []string // of the children; nil: the keeper's own

	Upgrade <-chan Upgrade // requests to go on with another server; nil: there are none

	Stdout, Stderr *os.File     // of the children; nil: the keeper's own
	Logger         *slog.Logger // nil: slog.Default()
}

const (
	ownOOMScore    = "-900" // the keeper is killed last: with it goes the mount
	normalOOMScore = "0"
)

// Run mounts, serves and supervises until ctx ends, then unmounts. Under a service manager that keeps its descriptors (the package
// comment says when) it goes on with the mount of the last keeper and, unless the service is being stopped, leaves it to the
// next. It returns nil after either; else why nothing was mounted, in words that say what to do, or why the mount came to its
// end. The *exec.ExitError of a server that failed for good is in the chain.
func Run(ctx context.Context, c Config) error {
	return run(ctx, c, pace{grace: serverGrace, probe: probePeriod}, askManager)
}

// pace is how long a keeper waits. Tests are in a hurry.
type pace struct {
	grace time.Duration // what a server has to end, from being told to being killed
	probe time.Duration // the period of the watchdog
}

func run(ctx context.Context, c Config, p pace, ask func(context.Context) (intention, error)) error {
	k := &keeper{Config: c, pace: p, ask: ask, started: time.Now()}
	k.defaults()
	k.manager = findManager(k.Logger)
	defer k.manager.close()
	k.heartbeat = k.manager.ticks()
	defer k.protect()()
	k.serverProgram, k.pokerProgram = findProgram(k.Server), findProgram(k.Poker)
	defer func() { k.serverProgram.close(); k.pokerProgram.close() }()
	if err := k.findMount(); err != nil {
		return err
	}
	if fd, err := claim(k.point); err == nil {
		defer unix.Close(fd)
	}
	if k.fuse == nil {
		k.layUnder()
	}
	err := k.keepMount(ctx)
	for errors.Is(err, errAborted) && ctx.Err() == nil {
		k.layUnder()
		pause := k.serverPace.next(false)
		k.Logger.Error("mount is dead, mounting over it", "mount", k.point, "err", err, "in", pause)
		if k.pause(ctx, pause) {
			err = k.keepMount(ctx)
		}
	}
	switch {
	case errors.Is(err, errLeft):
		return nil
	case k.covered:
		return err
	case err != nil && ctx.Err() == nil && (k.served || k.tookBack) && k.Under != "":
		k.layUnder() // those who read see the last good content instead of nothing
		return err
	}
	return errors.Join(err, sweep(k.point, k.Under))
}

func (k *keeper) defaults() {
	if k.Logger == nil {
		k.Logger = slog.Default()
	}
	if k.Stdout == nil {
		k.Stdout = os.Stdout
	}
	if k.Stderr == nil {
		k.Stderr = os.Stderr
	}
	if k.Env == nil {
		k.Env = os.Environ()
	}
	k.Env = withoutManager(k.Env)
}

// protect has the kernel kill the children first when memory is short, and returns what undoes it.
func (k *keeper) protect() (undo func()) {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return func() {}
	}
	own := strings.TrimSpace(string(text))
	k.childScore = own
	if own == ownOOMScore { // by whoever started this process, and not for the children's sake
		k.childScore = normalOOMScore
	}
	setOOMScore(os.Getpid(), ownOOMScore)
	return func() { setOOMScore(os.Getpid(), own) }
}

// findMount takes back the mount of an earlier keeper, or finds out where to mount.
func (k *keeper) findMount() (err error) {
	if parked := takeParked(); len(parked) > 0 {
		if k.point, err = resolve(k.Mount); err == nil {
			k.takeBack(parked)
		}
	}
	if k.fuse != nil {
		return nil
	}
	if k.state, err = newState(); err != nil {
		k.Logger.Warn("the next keeper will not know of this mount", "err", err)
	}
	k.point, err = findMountPoint(k.Mount, k.Under, k.Logger)
	return err
}

// pause waits, and says whether it came to the end.
func (k *keeper) pause(ctx context.Context, d time.Duration) bool {
	for over := time.After(d); ; {
		select {
		case <-over:
			return true
		case <-k.heartbeat:
			k.manager.alive()
		case <-ctx.Done():
			return false
		}
	}
}
