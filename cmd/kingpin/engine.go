package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// engine is the side of a monitor that may be away: its registry, and the mirror of it. Reads are served before it starts, and
// whatever becomes of it.
type engine struct {
	set    monitorSettings
	store  *disk.Store
	log    *slog.Logger
	opened func(context.Context, *mirror.Mirror) // called once the mirror runs

	registrar *mirror.Registrar // there before the mirror is; nil: nobody registers here

	observeS3 func(op string, status int, took time.Duration)

	mu      sync.Mutex
	mirror  *mirror.Mirror // nil until the registry could be opened
	backend backend        // of the mirror
	since   time.Time      // there is one, or was none
	trouble error          // why it could not
}

// registryFile is the embedded registry in the state directory.
const registryFile = "registry.db"

// The pauses between attempts to open the registry.
const (
	firstAttempt = 250 * time.Millisecond
	lastAttempt  = 30 * time.Second
)

// source is where the registry is, for people: a file, or the hosts of an ensemble.
func (e *engine) source() string {
	if e.set.fleet != nil {
		return e.set.fleet.source()
	}
	return filepath.Join(e.set.state, registryFile)
}

// get returns the mirror, or in words why there is none.
func (e *engine) get() (*mirror.Mirror, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mirror != nil:
		return e.mirror, nil
	case e.trouble != nil:
		// Without wrapping the trouble: whatever that is, to who asks for something the registry is away.
		return nil, fmt.Errorf("the registry cannot be used: %v: %w", e.trouble, registry.ErrUnreachable)
	}
	return nil, fmt.Errorf("the registry is not open yet: %w", registry.ErrUnreachable)
}

// behind is the backend of the mirror, and since when there is one.
func (e *engine) behind() (backend, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.backend, e.since
}

// writable says why a write would fail now. It asks nobody.
func (e *engine) writable() error { return e.can((*mirror.Mirror).Writable) }

// writableSoon is writable of who creates a file, and holds the lock of its directory meanwhile. Just after the start it waits a moment
// for the first answer: each upgrade would send somebody away else.
func (e *engine) writableSoon() error {
	err := e.writable()
	for began := time.Now(); err != nil && time.Since(began) < e.lockedPatience(); {
		<-time.After(openingPause)
		err = e.writable()
	}
	return err
}

// lockedPatience is how long who holds a lock that readers may want waits now for the registry.
func (e *engine) lockedPatience() time.Duration {
	switch _, since := e.behind(); {
	case e.untried():
		return openingPatience // that takes longer only where everything else does
	case time.Since(since) < openingPatience:
		return lockedPatience
	}
	return 0
}

// A monitor that has just started, or taken over, opens its registry within milliseconds: a writer waits for that rather than be sent
// away.
const (
	untriedPatience = 10 * time.Second // on a busy machine
	openingPatience = 2 * time.Second  // of an ensemble to answer
	lockedPatience  = 250 * time.Millisecond
	openingPause    = 10 * time.Millisecond
)

// soon is get of who can wait for that.
func (e *engine) soon() (*mirror.Mirror, error) {
	e.awaitOpening()
	return e.get()
}

func (e *engine) awaitOpening() {
	for deadline := time.Now().Add(untriedPatience); e.opening() && time.Now().Before(deadline); {
		<-time.After(openingPause)
	}
}

// reach is writable of who can wait until somebody was asked.
func (e *engine) reach() error {
	e.awaitOpening()
	return e.can((*mirror.Mirror).Reach)
}

// starting says that what this machine follows has not been here once.
func (e *engine) starting() bool {
	m, err := e.get()
	return err != nil || m.Ready() != nil
}

// opening says that the registry was not tried yet, or was a moment ago and has not answered.
func (e *engine) opening() bool {
	if _, err := e.get(); err != nil {
		return e.untried()
	}
	b, since := e.behind()
	return b.ensemble != nil && time.Since(since) < openingPatience && !b.ensemble.Connected()
}

// untried says that nobody has tried to open the registry to the end.
func (e *engine) untried() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mirror == nil && e.trouble == nil
}

// check says why a body would be refused for what is in it.
func (e *engine) check(ctx context.Context, name registry.Name, body []byte) error {
	m, err := e.get()
	if err != nil {
		return err
	}
	return m.Check(ctx, name, body)
}

// quota says why another version of a file would be one too many now.
func (e *engine) quota(f disk.File) error {
	m, err := e.get()
	if err != nil {
		return nil // it is refused for that
	}
	return m.Quota(f)
}

func (e *engine) can(write func(*mirror.Mirror) error) error {
	m, err := e.get()
	if err != nil {
		return err
	}
	if b, _ := e.behind(); b.ensemble != nil {
		if err := b.ensemble.Err(); err != nil {
			return err // an ensemble that went away is noticed by its client first
		}
	}
	return write(m)
}

// run opens the registry, again and again if it must, and mirrors it until ctx ends.
func (e *engine) run(ctx context.Context) error {
	b, err := e.open(ctx)
	if err != nil {
		return nil // ctx ended first; what was wrong has been logged
	}
	m := mirror.New(b.registry, b.bodies, e.store, mirror.Options{
		Dependencies: slices.Clone(e.set.dependencies),
		Create:       !e.set.readOnly && e.set.fleet == nil, // in a fleet it may be another machine's to make
		MaxBody:      e.set.maxBody,
		Guard:        e.set.guard,
		MaxVersions:  e.set.maxVersions,
		Logger:       e.log,
		Registrar:    e.registrar,
	})
	e.mu.Lock()
	e.mirror, e.backend, e.since, e.trouble = m, b, time.Now(), nil
	e.mu.Unlock()
	var beside sync.WaitGroup
	beside.Go(func() { e.opened(ctx, m) })
	if b.ensemble != nil {
		beside.Go(func() { e.keepEnsemble(ctx, b.ensemble) })
		beside.Go(func() { e.bury(ctx, b) })
	}
	err = m.Run(ctx)
	beside.Wait()
	e.mu.Lock()
	e.mirror, e.trouble = nil, errors.New("the monitor is stopping")
	e.mu.Unlock()
	if b.ensemble == nil {
		return errors.Join(err, b.close())
	}
	return err
}

// leave ends the session of a fleet's ensemble, after run. That takes its time, so whatever the next server waits for comes before.
func (e *engine) leave() error {
	if e.backend.ensemble == nil {
		return nil
	}
	return e.backend.close()
}

// answer adds to the status of the monitor how its registry and its bodies are.
func (e *engine) answer(s *monitorStatus) {
	s.Registry, s.Source = "embedded", e.source()
	m, err := e.get()
	b, since := e.behind()
	s.Connected, s.Since = err == nil, since
	if err != nil {
		s.Trouble = words(err)
	} else {
		s.Deleted = texts(m.Deleted())
	}
	fleet := e.set.fleet
	if fleet == nil {
		return
	}
	s.Registry = "zookeeper"
	s.S3.Bucket, s.S3.Endpoint = fleet.s3.Bucket, fleet.s3.Endpoint
	if err != nil {
		return
	}
	z, stats := b.ensemble.Stats(), m.Stats()
	s.Connected, s.Since, s.Server, s.Trouble, s.Frozen = z.Connected, z.Since, z.Server, z.Trouble, z.Frozen
	if bucket, ok := b.bodies.(*mirror.S3); ok {
		s.S3.Skew = bucket.Skew().Seconds()
	}
	s.S3.Reachable, s.S3.Trouble, s.S3.Since = stats.Bodies == "", stats.Bodies, stats.BodiesSince
}

func (e *engine) open(ctx context.Context) (backend, error) {
	for pause := firstAttempt; ; pause = min(2*pause, lastAttempt) {
		b, err := e.tryOpen(ctx)
		if err == nil {
			if pause != firstAttempt {
				e.log.Info("registry is open", "source", e.source())
			}
			return b, nil
		}
		e.mu.Lock()
		news := e.trouble == nil || e.trouble.Error() != err.Error()
		e.trouble = err
		e.mu.Unlock()
		if news {
			e.log.Error("registry cannot be opened; reads go on, writes are refused", "source", e.source(), "error", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return backend{}, ctx.Err()
		}
	}
}

func (e *engine) tryOpen(ctx context.Context) (backend, error) {
	if e.set.fleet != nil {
		return openFleet(ctx, e.set, e.store, e.observeS3, e.log)
	}
	return openEmbedded(e.source(), e.log)
}
