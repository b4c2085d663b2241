package embedded

import (
	"context"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	bolt "go.etcd.io/bbolt"
)

const (
	// maxGroup bounds the bytes that one transaction writes: it keeps a second copy of them in memory.
	maxGroup = 32 << 20

	// orders that the file gives away at once. All but a millionth of the members come and go without a write.
	orderBlock = 1 << 20
)

// change is one caller's part of a transaction.
type change struct {
	pointer registry.Pointer // whose bell to ring; empty: nobody's
	size    int              // bytes, roughly, if many
	apply   func(*update) error
	err     error
	done    chan struct{} // closed when err is final
}

func (c *change) finish(err error) {
	c.err = err
	close(c.done)
}

// commit returns when the change is durable, or apply has refused it. apply checks first and puts afterwards: with an error it
// must have put nothing. It may be called twice, since a transaction that fails for a group is tried again for each alone. A
// ctx that ends while the transaction is running does not hide its outcome. When the disk fails, nothing has changed, unless it
// failed in the very last step: then the present state tells.
func (r *Registry) commit(ctx context.Context, p registry.Pointer, size int, apply func(*update) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{pointer: p, size: size, apply: apply, done: make(chan struct{})}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return r.errorf("%w", ErrClosed)
	}
	r.queue = append(r.queue, c)
	r.mu.Unlock()

	// Whoever gets the token commits for everybody who is in the queue by then.
	select {
	case <-c.done:
	case r.token <- struct{}{}:
		for !c.isDone() {
			r.commitGroup(r.takeGroup())
		}
		<-r.token
	case <-ctx.Done():
		if r.withdraw(c) {
			return ctx.Err()
		}
		<-c.done
	}
	return c.err
}

func (c *change) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// takeGroup takes the oldest changes off the queue, at least one if there is any.
func (r *Registry) takeGroup() []*change {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, size := 0, 0
	for n < len(r.queue) && (n == 0 || size+r.queue[n].size <= maxGroup) {
		size += r.queue[n].size
		n++
	}
	group := r.queue[:n:n]
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil
	}
	return group
}

// withdraw takes a change off the queue; false means that a committer already has it.
func (r *Registry) withdraw(c *change) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.queue, c)
	if i < 0 {
		return false
	}
	r.queue = slices.Delete(slices.Clone(r.queue), i, i+1) // a group may share the array
	return true
}

// commitGroup is called with the token. One damaged page, or one body that is too large for the disk, must not fail the
// changes of others: a group that fails is tried again one by one.
func (r *Registry) commitGroup(group []*change) {
	verdicts, err := r.update(group)
	if err != nil && len(group) > 1 {
		for _, c := range group {
			r.commitGroup([]*change{c})
		}
		return
	}
	for i, c := range group {
		verdict := err
		if err == nil {
			verdict = verdicts[i]
		}
		if err != nil || verdict == nil {
			r.ring(c.pointer) // after a failure too: bbolt may have got further than it says
		}
		c.finish(verdict)
	}
}

// update runs one transaction. Refusals are final only when it is committed: they may rest on a change before them.
func (r *Registry) update(group []*change) (verdicts []error, err error) {
	if err := r.extend(registry.Order(len(group))); err != nil {
		return nil, err
	}
	verdicts = make([]error, len(group))
	err = r.transact(func(u *update) error {
		for i, c := range group {
			verdicts[i] = c.apply(u)
		}
		return nil
	})
	return verdicts, err
}

// extend makes room for n more orders below the ceiling, beside one for the leaving of each present member, which cannot
// be refused. It is called with the token.
func (r *Registry) extend(n registry.Order) error {
	r.mu.Lock()
	ceiling := r.ceiling
	enough := r.next+n+r.joined <= ceiling
	r.mu.Unlock()
	if enough {
		return nil
	}
	ceiling += orderBlock
	err := r.transact(func(u *update) error {
		u.changed = true
		return u.tx.Bucket(nodesBucket).SetSequence(uint64(ceiling))
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ceiling = ceiling
	return nil
}

// transact is bbolt's Update that survives damaged pages, and writes nothing if nothing was changed. It is called with
// the token.
func (r *Registry) transact(f func(*update) error) error {
	r.mu.Lock()
	writing, closed := r.writing, r.closed
	r.mu.Unlock()
	if closed {
		return r.errorf("%w", ErrClosed)
	}
	if writing != nil {
		return writing
	}
	var tx *bolt.Tx
	err := guard(r.path, func() (err error) {
		tx, err = r.db.Begin(true)
		return err
	})
	if err != nil {
		return r.beginError(err)
	}
	u := &update{view: view{tx: tx, path: r.path}, r: r}
	err = guard(r.path, func() error { return f(u) })
	if err == nil {
		err = u.err
	}
	if err != nil || !u.changed {
		if failed := guard(r.path, tx.Rollback); failed != nil {
			r.giveUp(failed, true)
		}
		return err
	}
	panicked := true
	err = guard(r.path, func() error {
		err := tx.Commit()
		panicked = false
		return err
	})
	if panicked {
		// What bbolt believes to be free may not be: another write could make things worse.
		r.giveUp(err, guard(r.path, tx.Rollback) != nil)
		return err
	}
	if err != nil {
		return r.errorf("could not be written: %w", err)
	}
	return nil
}

// giveUp ends all writing until the file is opened again. Reading goes on.
func (r *Registry) giveUp(cause error, stuck bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writing == nil {
		r.writing = cause
	}
	r.stuck = r.stuck || stuck
}

// update is a writing transaction. It remembers the first failure of bbolt, so that changes need not look at each.
type update struct {
	view
	r       *Registry
	changed bool
	err     error
}

// take hands out the next order. At most one for a change: extend has made room for so many.
func (u *update) take() registry.Order {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	order := u.r.next
	u.r.next++
	return order
}

func (u *update) put(bucket, key, value []byte) {
	u.changed = true
	if err := u.tx.Bucket(bucket).Put(key, seal(key, value)); err != nil && u.err == nil {
		u.err = u.r.errorf("could not be written: %w", err)
	}
}

func (u *update) delete(bucket, key []byte) {
	u.changed = true
	if err := u.tx.Bucket(bucket).Delete(key); err != nil && u.err == nil {
		u.err = u.r.errorf("could not be written: %w", err)
	}
}
