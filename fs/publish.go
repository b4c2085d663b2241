package fs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The gestures that publish, as disk.Entry.Origin; 0 is a version from elsewhere. They differ in which events the writer's own system
// calls raise on the directory.
const (
	closed  uint64 = iota + 1 // the writer's close follows, and is the event
	synced                    // by fsync: its close will be the event, if it comes soon
	late                      // after the writer's last close
	renamed                   // a rename over the name
	written                   // by the write itself: its close will be the event, if it comes soon
)

const (
	// checkTimeout bounds the question whether a body would do, while its writer is still at it.
	checkTimeout = 2 * time.Second
	// cancelPoll is how often an interrupted caller is asked whether it is dying.
	cancelPoll = 20 * time.Millisecond
)

// publishAndWait publishes a draft for a caller that waits in FLUSH or FSYNC, and returns when readers on this machine see it.
func (f *FS) publishAndWait(cancel <-chan struct{}, thread uint32, d *draft, gesture uint64) fuse.Status {
	ctx, stop := context.WithTimeout(context.Background(), publishTimeout)
	done := make(chan error, 1)
	f.background.Go(func() {
		defer stop()
		seen, unwatch := f.swaps.watch(d.file)
		defer unwatch()
		others := f.beside(d.file)
		e, err := f.publish(ctx, d, gesture)
		if err == nil {
			stale := others()
			if e.Stamp == 0 || seen() < e.Stamp {
				stale = append(stale, d.file)
			}
			f.swap(stale...)
		}
		done <- err
	})
	err := f.outlast(cancel, thread, done, nil)
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, errKilled):
		stop()
		return f.interrupted(d.file.String(), d.caller, done)
	}
	return f.refuse(d.file.String(), d.caller, err)
}

// publish makes a version of the draft's bytes, if there is anything to publish. Afterwards the draft goes on from that version;
// after a failure its bytes are gone.
func (f *FS) publish(ctx context.Context, d *draft, gesture uint64) (disk.Entry, error) {
	d.publishing.Lock()
	defer d.publishing.Unlock()
	d.mu.Lock()
	if !d.dirty {
		defer d.mu.Unlock()
		return d.base, d.failed
	}
	if err := d.ensure(); err != nil {
		d.mu.Unlock()
		return disk.Entry{}, err
	}
	appended := d.appends && d.base.Stamp != 0 && d.expect == nil && !d.decides()
	p, err := f.publication(d, d.file, gesture)
	if err != nil {
		defer d.mu.Unlock()
		return disk.Entry{}, d.fail(err)
	}
	a := attempt{edits: d.edits, size: len(p.Body)}
	tail := p.Body[min(d.start0, int64(len(p.Body))):]
	d.mu.Unlock()

	var e disk.Entry
	if appended {
		e, err = f.append(ctx, d, &p, tail, &a)
	} else {
		e, err = f.o.Publish(ctx, p)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.fail(err)
		if errors.Is(err, context.Canceled) && !errors.Is(err, registry.ErrUnknown) && d.failed != nil {
			d.failed = fmt.Errorf("interrupted, and not published: %w", registry.ErrTimeout) // for who tries it again
		}
		return disk.Entry{}, err
	}
	d.published(e, p.Body, a)
	f.published(d.file, d.caller)
	return e, nil
}

// publication is what a draft asks to be published as the file, with a copy of its bytes. d.mu is held.
func (f *FS) publication(d *draft, file disk.File, gesture uint64) (Publication, error) {
	p := Publication{
		Name:          registry.Name(file.Name),
		Body:          append([]byte{}, d.buf...),
		Base:          d.base.Version,
		CompareAndSet: !d.cut,
		Create:        d.create,
		Author:        f.author(d.caller),
		Message:       d.message,
		Force:         d.force,
		Origin:        gesture,
	}
	if d.expect != nil {
		p.Base, p.CompareAndSet = *d.expect, true
		d.expect = nil
	}
	if file.Kind == registry.Decider {
		return f.decision(p, file)
	}
	return p, nil
}

// refuse records why something was refused, in words, and returns its errno.
func (f *FS) refuse(path string, c caller, err error) fuse.Status {
	f.remember(path, c, err)
	return status(err)
}
