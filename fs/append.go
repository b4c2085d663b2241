package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// append publishes what was appended to a draft: to the version that it was made from, and to whatever is current as often as somebody
// else was faster, for as long as there is time. p becomes what was published. Those who append here at the same time take turns, or of
// many each would lose against all the others.
func (f *FS) append(ctx context.Context, d *draft, p *Publication, tail []byte, a *attempt) (disk.Entry, error) {
	done, err := f.appending.turn(ctx, d.file)
	if err != nil {
		return disk.Entry{}, fmt.Errorf("append to %s: others append to it: %w", d.file, registry.ErrTimeout)
	}
	defer done()
	for {
		if current, ok := f.store.Current(d.file); ok && current.Version != p.Base {
			a.rebased = true
			if *p, err = f.rebase(d, *p, tail); err != nil {
				return disk.Entry{}, err
			}
		}
		e, err := f.o.Publish(ctx, *p)
		if !errors.Is(err, registry.ErrConflict) || ctx.Err() != nil {
			return e, err
		}
		if current, ok := f.store.Current(d.file); !ok || current.Version == p.Base {
			return e, err // what won is not here, so nothing can be put behind it
		}
	}
}

// rebase puts what was appended behind the version that won the race.
func (f *FS) rebase(d *draft, p Publication, tail []byte) (Publication, error) {
	current, ok := f.store.Current(d.file)
	if !ok {
		return p, fmt.Errorf("append to %s: %w", d.file, registry.ErrNotExist)
	}
	body, err := f.bodies.content(current.Stamp)
	if err != nil {
		return p, fmt.Errorf("append to %s: %w", d.file, err)
	}
	p.Body, p.Base = append(body, tail...), current.Version
	if int64(len(p.Body)) > f.o.MaxBody {
		return p, fmt.Errorf("%d bytes, at most %d: %w", len(p.Body), f.o.MaxBody, registry.ErrTooLarge)
	}
	return p, nil
}

// turns lets one at a time do something to a file. The zero value is ready.
type turns struct {
	mu    sync.Mutex
	files map[disk.File]*turn
}

type turn struct {
	taken chan struct{} // holds one token while somebody has the turn
	users int           // that have it or wait for it
}

// turn waits for one's turn until ctx ends.
func (t *turns) turn(ctx context.Context, file disk.File) (done func(), err error) {
	t.mu.Lock()
	if t.files == nil {
		t.files = map[disk.File]*turn{}
	}
	mine := t.files[file]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.files[file] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.files, file)
		}
	}
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
