package manageddata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// change is one application's wish. Several that come at the same time become one version.
type change[V any] struct {
	apply func(V) (V, error)
	blind bool // does not look at what is there, so that it may repair what cannot be read
	force bool // means to empty the data
	done  chan struct{}

	mu        sync.Mutex // held while apply runs
	abandoned bool       // its caller is gone: apply must not run again
	written   bool       // it was on its way to the file at least once
	finished  bool
	err       error
	delay     error // why it takes so long
	panicked  any
}

func (c *change[V]) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.finished {
		c.finished, c.err = true, err
		close(c.done)
	}
}

// change has the publisher do one change, and waits for it until ctx is done.
func (d *data[V, L]) change(ctx context.Context, c *change[V]) error {
	c.done = make(chan struct{})
	if err := d.enqueue(c); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.mu.Lock() // apply has ended, and will not begin again
		c.abandoned = true
		finished, written, delay := c.finished, c.written, c.delay
		c.mu.Unlock()
		switch {
		case finished:
		case written:
			return fmt.Errorf("change %s: %w: %w", d.name, registry.ErrUnknown, ctx.Err())
		case delay != nil:
			return fmt.Errorf("change %s: %w: %w", d.name, ctx.Err(), delay)
		default:
			return fmt.Errorf("change %s: %w", d.name, ctx.Err())
		}
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

func (d *data[V, L]) enqueue(c *change[V]) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("change %s: %w", d.name, errClosed)
	}
	d.queue = append(d.queue, c)
	if d.publishing == nil {
		d.publishing = make(chan struct{})
		go d.publish(d.publishing)
	}
	return nil
}

// take adds to the changes that wait those that have come, and leaves out those that nobody waits for. When there is none the
// publisher ends.
func (d *data[V, L]) take(waiting []*change[V], ended chan struct{}) []*change[V] {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting = slices.DeleteFunc(append(waiting, d.queue...), func(c *change[V]) bool { return !c.waitedFor() })
	d.queue = nil
	if d.closed {
		for _, c := range waiting {
			c.finish(fmt.Errorf("change %s: %w", d.name, errClosed))
		}
		waiting = nil
	}
	if len(waiting) == 0 {
		d.publishing = nil
		close(ended)
	}
	return waiting
}

// delayed notes why a change that was not made is tried again: nothing of it is there.
func (c *change[V]) delayed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay, c.written = err, false
}

func (c *change[V]) waitedFor() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.abandoned && !c.finished
}

// publish makes versions of changes until there are none. It is the only writer of the file in this process.
func (d *data[V, L]) publish(ended chan struct{}) {
	var waiting []*change[V]
	alone := 0 // so many of them are tried one by one
	for attempt := 0; ; attempt++ {
		if waiting = d.take(waiting, ended); len(waiting) == 0 {
			return
		}
		batch := waiting
		if alone = min(alone, len(waiting)); alone > 0 {
			batch = waiting[:1]
		}
		err := d.attempt(batch)
		if errors.Is(err, registry.ErrConflict) || errors.Is(err, syscall.EDQUOT) {
			for _, c := range batch {
				c.delayed(err)
			}
		}
		switch {
		case errors.Is(err, registry.ErrConflict):
			rest(5*time.Millisecond<<min(attempt, 7), 640*time.Millisecond)
			continue
		case errors.Is(err, syscall.EDQUOT): // the monitor limits the versions a minute: slower, then
			d.log.Warn("changes are made more slowly, the monitor limits them", "name", d.name, "error", err)
			rest(2*time.Second, 2*time.Second)
			continue
		case errors.Is(err, registry.ErrInvalid) && len(batch) > 1:
			alone = len(batch) // one of them spoiled it for all
			continue
		case err != nil:
			err = fmt.Errorf("change %s: %w", d.name, err)
		default: // who changed it sees it at once
			_ = d.file.Refresh(context.Background()) // it fails if the file was closed, and then it does not matter
		}
		for _, c := range batch {
			c.finish(err)
		}
		attempt, alone = 0, max(alone-1, 0)
	}
}

// rest waits for a random time, so that machines which collided do not collide again.
func rest(most, limit time.Duration) {
	pause := time.NewTimer(rand.N(min(most, limit)))
	<-pause.C
}

// attempt is one compare-and-set.
func (d *data[V, L]) attempt(batch []*change[V]) error {
	draft, err := d.dir.pin(d.name)
	if err != nil {
		return err
	}
	defer draft.Close()
	body, force, err := d.applied(batch, draft.Body())
	if err != nil || body == nil {
		return err
	}
	return draft.Publish(body, force)
}

// applied is the body that the changes make of another; nil if it is the same. Who fails is told so and left out.
func (d *data[V, L]) applied(batch []*change[V], old []byte) (body []byte, force bool, err error) {
	defer func() { // Check, and the methods of the application's types, are its own
		if p := recover(); p != nil {
			body, err = nil, fmt.Errorf("checking or writing the value panicked: %v: %w", p, registry.ErrInvalid)
		}
	}()
	value, force, any := d.applyAll(batch, old)
	if !any {
		return nil, false, nil
	}
	if err := d.codec.check(value); err != nil {
		return nil, false, fmt.Errorf("%w: %w", registry.ErrInvalid, err)
	}
	if body, err = d.codec.format(value, old); err != nil {
		return nil, false, err
	}
	if before, broken := d.codec.parse(old); broken == nil {
		if same, err := d.codec.format(before, old); err == nil && bytes.Equal(same, body) {
			return nil, false, nil
		}
	}
	return body, force, nil
}

// applyAll begins again whenever a change fails: what it did to the value before that must not stay.
func (d *data[V, L]) applyAll(batch []*change[V], old []byte) (value V, force, any bool) {
	for again := true; again; {
		again, force, any = false, false, false
		fresh, broken := d.codec.parse(old)
		value = fresh
		for _, c := range batch {
			next, ran, err := c.run(value, broken)
			if !ran {
				continue
			}
			if err != nil {
				c.finish(err)
				again = true
				break
			}
			value, broken, force, any = next, nil, force || c.force, true
		}
	}
	return value, force, any
}

// run applies the change if its caller still waits for it.
func (c *change[V]) run(value V, broken error) (next V, ran bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned || c.finished {
		return next, false, nil
	}
	if broken != nil && !c.blind {
		return next, true, fmt.Errorf("what is there cannot be read, Set replaces it: %w", broken)
	}
	done := make(chan struct{})
	go func() { // apply may end its goroutine: t.Fatal does
		defer close(done)
		err = errors.New("the function has ended its goroutine")
		defer func() {
			if c.panicked = recover(); c.panicked != nil {
				err = errors.New("the function panicked")
			}
		}()
		next, err = c.apply(value)
	}()
	<-done
	c.written = c.written || err == nil
	return next, true, err
}
