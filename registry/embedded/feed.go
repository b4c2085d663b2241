package embedded

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// recheck is when a feed that could not read its node tries again, though nobody has changed it.
const recheck = 10 * time.Second

// bell is where the feeds of one node wait. It is rung once, by closing it; who wants to hear more asks for the next one.
type bell struct {
	rung    chan struct{}
	waiting int
}

// listen returns the node's bell. Listening before reading is what makes a feed miss nothing.
func (r *Registry) listen(p registry.Pointer) *bell {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bells[p]
	if b == nil {
		b = &bell{rung: make(chan struct{})}
		r.bells[p] = b
	}
	b.waiting++
	return b
}

// leave forgets a bell nobody listens to.
func (r *Registry) leave(p registry.Pointer, b *bell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.waiting--
	if b.waiting == 0 && r.bells[p] == b {
		delete(r.bells, p)
	}
}

// ring wakes the feeds of one node.
func (r *Registry) ring(p registry.Pointer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ringLocked(p)
}

func (r *Registry) ringLocked(p registry.Pointer) {
	if b := r.bells[p]; b != nil {
		close(b.rung)
		delete(r.bells, p)
	}
}

func (r *Registry) ringAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, b := range r.bells {
		close(b.rung)
		delete(r.bells, p)
	}
}

// feed yields what read returns, now and whenever the bell of p has rung and it differs from what was yielded last. After
// an error the present state follows, changed or not, so that the consumer learns that the trouble is over.
func feed[T any](ctx context.Context, r *Registry, p registry.Pointer, read func() (T, error), same func(a, b T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last T
		known := false
		for ctx.Err() == nil {
			var err error
			again := r.listening(p, func(b *bell) bool {
				var present T
				present, err = read()
				if !known || err != nil || !same(last, present) {
					if !yield(present, err) {
						return false
					}
					last, known = present, err == nil
				}
				return r.wait(ctx, b, err)
			})
			if !again {
				return
			}
		}
	}
}

// listening calls f with a bell of p, and leaves the bell even if the consumer of a feed panics.
func (r *Registry) listening(p registry.Pointer, f func(*bell) bool) bool {
	b := r.listen(p)
	defer r.leave(p, b)
	return f(b)
}

// wait returns true when the node should be read again, false when the feed is over.
func (r *Registry) wait(ctx context.Context, b *bell, err error) bool {
	var retry <-chan time.Time
	switch {
	case errors.Is(err, ErrClosed):
		<-ctx.Done()
		return false
	case err != nil:
		retry = time.After(recheck)
	}
	select {
	case <-b.rung:
		return true
	case <-retry:
		return true
	case <-ctx.Done():
		return false
	}
}
