package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	serverGrace = 10 * time.Second // from SIGTERM to SIGKILL
	pokerGrace  = 6 * time.Second  // more than a server keeps a directory locked
	afterKill   = 2 * time.Second  // from SIGKILL to the end: a busy machine takes its time
	lookAgain   = 100 * time.Millisecond

	serverHealthy = 50 * time.Millisecond  // after Ready
	pokerHealthy  = 100 * time.Millisecond // after its start
)

var (
	errAborted   = errors.New("the connection to the kernel was aborted")
	errUnmounted = errors.New("somebody else unmounted it")
	errLeft      = errors.New("left to the next keeper")
)

type keeper struct {
	Config
	point      string
	childScore string // the OOM score of the children
	manager    *manager
	ask        func(context.Context) (intention, error)
	pace

	// One mount's life.
	fuse   *os.File // nil: none yet
	minor  uint32   // of the mount's device number: which mount is ours
	pokes  [2]*os.File
	events chan event
	quit   chan struct{}
	joined sync.WaitGroup

	server, poker       *child // nil: dead
	children            []*child
	serverDue, pokerDue <-chan time.Time // when to start one again; nil: not now
	init, reply         []byte
	lookDue             <-chan time.Time // when to look again; nil: with the watchdog
	watchdog            watchdog
	trial               *trial // nil: no upgrade is under way
	oomKills            int    // when the server started

	// Over all mounts.
	serverProgram, pokerProgram program

	serverPace, pokerPace backoff
	incarnation           uint32
	state                 *os.File         // nil: it could not be made
	heartbeat             <-chan time.Time // when to tell the manager
	served                bool             // a server of this keeper was ready
	tookBack              bool             // the mount is an earlier keeper's
	left                  bool             // the mount is the next keeper's
	covered               bool             // the mount is left dead under the plain files
	started               time.Time
	causes                Causes
	died                  time.Time
	lastDeath             string
}

// keepMount is the life of one mount.
func (k *keeper) keepMount(ctx context.Context) (err error) {
	fresh := k.fuse == nil
	if fresh {
		fd, err := mount(k.point)
		if err != nil {
			return err
		}
		k.fuse, k.init, k.reply = os.NewFile(uintptr(fd), device), nil, nil
	}
	k.events, k.quit, k.children = make(chan event), make(chan struct{}), nil
	k.watchdog = watchdog{ticked: sinceBoot()}
	defer func() {
		if errors.Is(err, errLeft) {
			err = errors.Join(err, k.leave())
			return
		}
		err = errors.Join(err, k.tearDown(err))
	}()
	if fresh {
		stack, err := mountsOn(k.point)
		if err != nil || len(stack) == 0 {
			return errors.Join(err, errUnmounted)
		}
		k.minor = stack[len(stack)-1].minor
	}
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

// supervise returns nil when ctx ends for a stop and errLeft when another keeper is to go on, else why the mount cannot.
func (k *keeper) supervise(ctx context.Context) error {
	watch := time.NewTicker(k.probe)
	defer watch.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return k.goodbye()
		case <-k.heartbeat:
			k.manager.alive()
		case e := <-k.events:
			err = k.handle(e)
		case <-watch.C:
			err = errors.Join(k.look(), k.watch())
		case <-k.lookDue:
			err = k.look()
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

// look finds a server that cannot be reaped although its first thread is dead, since another one is stuck in the kernel. It takes
// two looks: every process that dies is in that state for a moment.
func (k *keeper) look() error {
	k.lookDue = nil
	s := k.server
	switch {
	case s == nil || !s.zombie():
		return nil
	case !s.suspect:
		s.suspect = true
		k.lookDue = time.After(lookAgain)
		return nil
	}
	s.kill() // in case its other threads are well
	return k.serverDied(errors.New("killed, but some of its threads are stuck"))
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
			k.save()
			k.manager.park(k.fuse, k.state)
		}
		k.server.say(notice{Saved: true})
	case r.Refused != "":
		k.server.refused = r.Refused
	case r.Ready:
		k.server.ready = time.Now()
		k.served = true
		k.manager.ready(fmt.Sprintf("serving %s, server pid %d", k.point, k.server.pid()))
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
