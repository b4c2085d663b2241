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

// leave forgets a bell that nobody listens to any more.
func (r *Registry) leave(p registry.Pointer, b *bell) {
	if b == nil {
		return
	}
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
	for w := range r.watchers {
		w.tell(p)
	}
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
		var b *bell
		defer func() { r.leave(p, b) }() // even if the consumer panics
		var last T
		known := false
		for ctx.Err() == nil {
			r.leave(p, b)
			b = r.listen(p)
			present, err := read()
			if !known || err != nil || !same(last, present) {
				if !yield(present, err) {
					return
				}
				last, known = present, err == nil
			}
			r.wait(ctx, b, err)
		}
	}
}

// wait returns when the node should be read again, or ctx is done.
func (r *Registry) wait(ctx context.Context, b *bell, err error) {
	var retry <-chan time.Time
	switch {
	case errors.Is(err, ErrClosed):
		<-ctx.Done()
	case err != nil:
		retry = time.After(recheck)
	}
	select {
	case <-b.rung:
	case <-retry:
	case <-ctx.Done():
	}
}
