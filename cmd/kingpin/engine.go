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
	"github.com/kingpinfs/kingpin/registry/embedded"
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

	mu      sync.Mutex
	mirror  *mirror.Mirror // nil until the registry could be opened
	bodies  mirror.Bodies
	trouble error // why it could not
}

// registryFile is the embedded registry in the state directory.
const registryFile = "registry.db"

// The pauses between attempts to open the registry.
const (
	firstAttempt = 250 * time.Millisecond
	lastAttempt  = 30 * time.Second
)

func (e *engine) path() string { return filepath.Join(e.set.state, registryFile) }

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

// writable says why a write would fail now.
func (e *engine) writable() error {
	m, err := e.get()
	if err != nil {
		return err
	}
	return m.Writable()
}

// fetch reads a body from the registry.
func (e *engine) fetch(ctx context.Context, key string) (registry.Body, error) {
	e.mu.Lock()
	bodies := e.bodies
	e.mu.Unlock()
	if bodies == nil {
		_, err := e.get()
		return registry.Body{}, err
	}
	return bodies.Fetch(ctx, key)
}

// run opens the registry, again and again if it must, and mirrors it until ctx ends.
func (e *engine) run(ctx context.Context) error {
	r, err := e.open(ctx)
	if err != nil {
		return nil // ctx ended first; what was wrong has been logged
	}
	m := mirror.New(r, r, e.store, mirror.Options{
		Dependencies: slices.Clone(e.set.dependencies),
		Create:       !e.set.readOnly,
		MaxBody:      e.set.maxBody,
		Logger:       e.log,
	})
	e.mu.Lock()
	e.mirror, e.bodies, e.trouble = m, r, nil
	e.mu.Unlock()
	var opened sync.WaitGroup
	opened.Go(func() { e.opened(ctx, m) })
	err = m.Run(ctx)
	opened.Wait()
	e.mu.Lock()
	e.mirror, e.bodies, e.trouble = nil, nil, errors.New("the monitor is stopping")
	e.mu.Unlock()
	return errors.Join(err, r.Close())
}

func (e *engine) open(ctx context.Context) (*embedded.Registry, error) {
	for pause := firstAttempt; ; pause = min(2*pause, lastAttempt) {
		r, err := embedded.Open(e.path(), embedded.Options{Logger: e.log})
		if err == nil {
			if pause != firstAttempt {
				e.log.Info("registry is open", "path", e.path())
			}
			return r, nil
		}
		e.mu.Lock()
		news := e.trouble == nil || e.trouble.Error() != err.Error()
		e.trouble = err
		e.mu.Unlock()
		if news {
			e.log.Error("registry cannot be opened; reads go on, writes are refused", "path", e.path(), "error", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
