package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what to mount where and how to start the children.
type Config struct {
	Mount  string   // the mount point: an existing, empty directory
	Server []string // command line of the server, which calls Attach
	Poker  []string // command line of the poker, which calls Poke
	Under  string   // a directory of plain files to lay under the mount, once it exists; "": none
	Env    []string // of the children; nil: the keeper's own

	Upgrade <-chan Upgrade // requests to go on with another server; nil: there are none

	Stdout, Stderr *os.File     // of the children; nil: the keeper's own
	Logger         *slog.Logger // nil: slog.Default()
}

const (
	ownOOMScore = "-900" // the keeper is killed last: with it goes the mount

	serverGrace  = 10 * time.Second // from SIGTERM to SIGKILL
	pokerGrace   = 3 * time.Second  // more than a server keeps a directory locked
	afterKill    = time.Second
	lookInterval = time.Second
	lookAgain    = 100 * time.Millisecond

	serverHealthy = 50 * time.Millisecond  // after Ready
	pokerHealthy  = 100 * time.Millisecond // after its start
)

var (
	errAborted   = errors.New("the connection to the kernel was aborted")
	errUnmounted = errors.New("somebody else unmounted it")
)

type keeper struct {
	Config
	point    string
	ownScore string // the OOM score that the children go back to
	pace

	// One mount's life.
	fuse   *os.File
	minor  uint32 // of the mount's device number: which mount is ours
	pokes  [2]*os.File
	events chan event
	quit   chan struct{}
	joined sync.WaitGroup

	server, poker       *child // nil: dead
	children            []*child
	serverDue, pokerDue <-chan time.Time // when to start one again; nil: not now
	init, reply         []byte
	watchdog            watchdog
	trial               *trial // nil: no upgrade is under way
	oomKills            int    // when the server started

	// Over all mounts.
	serverPace, pokerPace backoff
	incarnation           uint32
	served                bool
	started               time.Time
	causes                Causes
	died                  time.Time
	lastDeath             string
}

// Run mounts, serves and supervises until ctx ends, then unmounts. It returns nil after a clean stop; else why nothing was
// mounted, in words that say what to do, or why the mount came to its end. The *exec.ExitError of a server that failed
// for good is in the chain.
func Run(ctx context.Context, c Config) error {
	return run(ctx, c, pace{grace: serverGrace, probe: probePeriod})
}

// pace is how long a keeper waits. Tests are in a hurry.
type pace struct {
	grace time.Duration // what a server has to end, from being told to being killed
	probe time.Duration // the period of the watchdog
}

func run(ctx context.Context, c Config, p pace) error {
	k := &keeper{Config: c, pace: p, started: time.Now()}
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
	var err error
	if k.point, err = findMountPoint(c.Mount, c.Under, k.Logger); err != nil {
		return err
	}
	if fd, err := claim(k.point); err == nil {
		defer unix.Close(fd)
	}
	if score, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		k.ownScore = strings.TrimSpace(string(score))
		setOOMScore(os.Getpid(), ownOOMScore)
		defer setOOMScore(os.Getpid(), k.ownScore)
	}
	for {
		k.layUnder()
		err = k.keepMount(ctx)
		if !errors.Is(err, errAborted) || ctx.Err() != nil {
			break
		}
		k.layUnder()
		pause := k.serverPace.next(false)
		k.Logger.Error("mount is dead, mounting over it", "mount", k.point, "err", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	if err != nil && ctx.Err() == nil && k.served && k.Under != "" { // those who read see the last good content instead of nothing
		k.layUnder()
		return err
	}
	return errors.Join(err, sweep(k.point, k.Under))
}

// keepMount is the life of one mount.
func (k *keeper) keepMount(ctx context.Context) (err error) {
	fd, err := mount(k.point)
	if err != nil {
		return err
	}
	k.fuse = os.NewFile(uintptr(fd), device)
	k.events, k.quit = make(chan event), make(chan struct{})
	k.children, k.init, k.reply = nil, nil, nil
	k.watchdog = watchdog{ticked: sinceBoot()}
	defer func() { err = errors.Join(err, k.tearDown(err)) }()
	stack, err := mountsOn(k.point)
	if err != nil || len(stack) == 0 {
		return errors.Join(err, errUnmounted)
	}
	k.minor = stack[len(stack)-1].minor
	if k.pokes[0], k.pokes[1], err = pair("poker"); err != nil {
		return err
	}
	if err := k.startPoker(); err != nil {
		return fmt.Errorf("start the poker: %w", err)
	}
	if err := k.startServer(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	return k.supervise(ctx)
}

// supervise returns nil when ctx ends, else why the mount cannot go on.
func (k *keeper) supervise(ctx context.Context) error {
	look := time.NewTimer(lookInterval)
	defer look.Stop()
	watch := time.NewTicker(k.probe)
	defer watch.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case e := <-k.events:
			err = k.handle(e)
		case <-look.C:
			var again time.Duration
			again, err = k.look()
			look.Reset(again)
		case <-watch.C:
			err = k.watch()
		case u := <-k.Upgrade:
			k.begin(u)
		case <-k.trialDue():
			k.lastResort()
		case <-k.serverDue:
			if k.serverDue = nil; k.startServer() != nil {
				k.serverDue = time.After(k.serverPace.next(false))
			}
		case <-k.pokerDue:
			if k.pokerDue = nil; k.startPoker() != nil {
				k.pokerDue = time.After(k.pokerPace.next(false))
			}
		}
		if err != nil {
			return err
		}
	}
}

// look finds a server that cannot be reaped although its first thread is dead, since another one is stuck in the kernel, and
// says when to look again. It takes two looks: every process that dies is in that state for a moment.
func (k *keeper) look() (time.Duration, error) {
	s := k.server
	switch {
	case s == nil || !s.zombie():
		return lookInterval, nil
	case !s.suspect:
		s.suspect = true
		return lookAgain, nil
	}
	s.kill() // in case its other threads are well
	return lookInterval, k.serverDied(errors.New("killed, but some of its threads are stuck"))
}

func (k *keeper) handle(e event) error {
	if e.report != nil {
		switch e.child { // another was given up
		case k.server:
			k.hear(e.report)
		case k.trying():
			k.hearTrial(e.report)
		case k.poker:
			k.hearPoker(e.report)
		}
		return nil
	}
	e.child.bury()
	k.children = slices.DeleteFunc(k.children, func(c *child) bool { return c == e.child })
	switch e.child {
	case k.server:
		return k.serverDied(e.err)
	case k.trying():
		k.trialFailed(fmt.Errorf("the new server ended before it was prepared: %w", e.err))
	case k.poker:
		k.pokerDied(e.err)
	default:
		k.sayReaped()
	}
	return nil
}

func (k *keeper) hear(r *report) {
	switch {
	case r.Init != nil:
		if k.init == nil { // the kernel negotiates once a mount
			k.init, k.reply = r.Init, r.InitReply
		}
		k.server.say(notice{Saved: true})
	case r.Refused != "":
		k.server.refused = r.Refused
	case r.Ready:
		k.server.ready = time.Now()
		k.served = true
		log := k.Logger.With("mount", k.point, "pid", k.server.pid(), "incarnation", k.incarnation)
		if k.died.IsZero() {
			log.Info("serving", "took", time.Since(k.started))
		} else {
			log.Info("serving again", "took", time.Since(k.died))
		}
		if k.trial != nil && k.trial.server == k.server {
			k.concluded()
		}
	}
}
