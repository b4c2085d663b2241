package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// DirOptions of a Dir. The zero DirOptions are good.
type DirOptions struct {
	Poll     time.Duration // how often to look without being told, give or take a half; 0 is 10 s
	Patience time.Duration // how long a system call may take before the directory counts as hung; 0 is 3 s
	Logger   *slog.Logger  // one line when the directory goes, comes or hangs; nil is silence
}

// Dir follows files of one directory with one watch. The directory may have stand-ins, which are read while it is not there or does not
// answer: the first of them that is there counts.
type Dir struct {
	places     []*place
	poll       time.Duration
	patience   time.Duration
	log        *slog.Logger
	calls      chan func(*loop)
	results    chan result
	happenings chan happening
	closing    chan struct{}
	done       chan struct{}
	once       sync.Once
}

// impatient is how often to look when there is no watch, or not on the directory that is preferred.
const impatient = time.Second

// OpenDir follows files in dir, or in the first of the others that is there while dir is not. None has to exist yet.
func OpenDir(o DirOptions, dir string, others ...string) (*Dir, error) {
	d := &Dir{
		poll: o.Poll, patience: o.Patience, log: o.Logger,
		calls: make(chan func(*loop)), happenings: make(chan happening),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	if d.poll <= 0 {
		d.poll = 10 * time.Second
	}
	if d.patience <= 0 {
		d.patience = 3 * time.Second
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	for _, path := range append([]string{dir}, others...) {
		if path == "" {
			return nil, errors.New("follow: a directory without a path")
		}
		d.places = append(d.places, &place{dir: filepath.Clean(path), jobs: make(chan job, 1), done: make(chan struct{})})
	}
	d.results = make(chan result, len(d.places))
	for _, p := range d.places {
		w := &worker{place: p, dir: d, watched: map[string]fs.FileInfo{}, extra: map[*entry]needs{}}
		go w.run()
	}
	l := &loop{dir: d, active: -1, entries: map[string][]*entry{}}
	go l.run()
	return d, nil
}

// Paths are the directories, the preferred one first.
func (d *Dir) Paths() []string {
	paths := make([]string, len(d.places))
	for i, p := range d.places {
		paths[i] = p.dir
	}
	return paths
}

// Close ends the following of all its files and waits for it; for a system call that a dead mount does not answer it waits as long as
// Patience says.
func (d *Dir) Close() error {
	d.once.Do(func() { close(d.closing) })
	<-d.done
	deadline := time.NewTimer(d.patience)
	defer deadline.Stop()
	var err error
	for _, p := range d.places {
		select {
		case <-p.done:
		case <-deadline.C:
			deadline.Reset(0)
			err = fmt.Errorf("close %s: its file system does not answer, one goroutine still waits for it", p.dir)
		}
	}
	return err
}

// call has the loop do something, unless the Dir is closed.
func (d *Dir) call(ctx context.Context, f func(*loop)) error {
	select {
	case d.calls <- f:
		return nil
	case <-d.done:
		return fs.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add follows a file, and returns when it was looked at once.
func (d *Dir) add(e *entry) error {
	return d.look(context.Background(), func(l *loop, looked chan struct{}) {
		l.entries[e.name] = append(l.entries[e.name], e)
		l.ask(e, looked)
	})
}

// refresh looks at a file once more, and returns when that is done.
func (d *Dir) refresh(ctx context.Context, e *entry) error {
	return d.look(ctx, func(l *loop, looked chan struct{}) {
		if e.removed {
			close(looked)
			return
		}
		l.ask(e, looked)
	})
}

// look has the loop ask for a look at a file, which closes looked, and waits for that.
func (d *Dir) look(ctx context.Context, ask func(l *loop, looked chan struct{})) error {
	looked := make(chan struct{})
	if err := d.call(ctx, func(l *loop) { ask(l, looked) }); err != nil {
		return err
	}
	select {
	case <-looked:
		return nil
	case <-d.done:
		return fs.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove returns when nothing of the file will be called any more.
func (d *Dir) remove(e *entry) {
	removed := make(chan struct{})
	if d.call(context.Background(), func(l *loop) { l.remove(e); close(removed) }) != nil {
		return
	}
	<-removed
}
