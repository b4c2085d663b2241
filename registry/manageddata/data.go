package manageddata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// codec is how a kind of data is read and written. V is what applications change, L what they read.
type codec[V, L any] struct {
	parse  func(body []byte) (V, error)
	load   func(V) L                             // what is derived from a value once, so that reading is fast
	format func(v V, old []byte) ([]byte, error) // old is the body that v was made from; it may hold more than V can
	check  func(V) error
}

// data is what all kinds have in common.
type data[V, L any] struct {
	name  registry.Name
	codec codec[V, L]
	dir   *Dir
	file  *follow.File[L]
	log   *slog.Logger

	mu         sync.Mutex
	queue      []*change[V]
	publishing chan struct{} // closed when the publisher has ended; nil if there is none
	closed     bool
}

func open[V, L any](domain, key string, o Options, c codec[V, L]) (*data[V, L], error) {
	name, err := nameOf(domain, key)
	if err != nil {
		return nil, err
	}
	if c.check, err = checkOf[V](o); err != nil {
		return nil, err
	}
	d := &data[V, L]{name: name, codec: c, dir: o.In, log: o.Logger}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.dir == nil {
		if d.dir, err = OpenDir(o); err != nil {
			return nil, err
		}
		d.dir.owned = true
	}
	d.file, err = follow.In(d.dir.follow, string(name), d.read, follow.Options{Logger: o.Logger, Changed: o.Changed})
	if err != nil && d.dir.owned {
		err = errors.Join(err, d.dir.Close())
	}
	return d, err
}

// read is what the followed file goes through.
func (d *data[V, L]) read(body []byte) (L, error) {
	v, err := d.codec.parse(body)
	if err == nil {
		err = d.codec.check(v)
	}
	if err != nil {
		var none L
		return none, err
	}
	return d.codec.load(v), nil
}

// Name is the config that holds the data.
func (d *data[V, L]) Name() string { return string(d.name) }

// Wait returns when a good version was read, and with an error when ctx is done before.
func (d *data[V, L]) Wait(ctx context.Context) error { return d.file.Wait(ctx) }

// Err is what is wrong with the file now; nil if what is read is its content.
func (d *data[V, L]) Err() error { return d.file.Err() }

// Refresh looks at the file now, and returns when what was there is loaded.
func (d *data[V, L]) Refresh(ctx context.Context) error { return d.file.Refresh(ctx) }

// Close ends the following of the file, and waits for it and for changes under way. What was read stays.
func (d *data[V, L]) Close() error {
	d.mu.Lock()
	d.closed = true
	publishing := d.publishing
	for _, c := range d.queue {
		c.finish(fmt.Errorf("change %s: %w", d.name, errClosed))
	}
	d.queue = nil
	d.mu.Unlock()
	err := d.file.Close()
	if publishing != nil {
		err = errors.Join(err, awaitWriter(string(d.name), publishing))
	}
	if d.dir.owned {
		err = errors.Join(err, d.dir.Close())
	}
	return err
}

// views are the versions as they come, each made into what the application sees.
func views[V, L, View any](ctx context.Context, d *data[V, L], view func(*follow.Snapshot[L]) View) iter.Seq[View] {
	return func(yield func(View) bool) {
		for s := range d.file.Changes(ctx) {
			if !yield(view(s)) {
				return
			}
		}
	}
}
