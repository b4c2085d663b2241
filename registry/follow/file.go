package follow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultLimit is the size above which a file is not read, unless Options say otherwise: 64 MiB, four times the largest body.
const DefaultLimit = 64 << 20

// Options of one file. The zero Options are good.
type Options struct {
	Limit   int64         // of the file's size in bytes; 0 is DefaultLimit
	Poll    time.Duration // how often to look without being told, give or take a half; 0 is 10 s. With In the Dir's counts
	Logger  *slog.Logger  // one line for each change of state; nil is silence
	Changed func()        // called after each new value can be loaded; it must not wait for the file or its Dir
}

// File is a file and the last good value that was read from it. Its methods may be called from any goroutine.
type File[T any] struct {
	current atomic.Pointer[Snapshot[T]]
	wrong   atomic.Pointer[error]
	parse   func([]byte) (T, error)
	changed func()
	entry   *entry
	dir     *Dir
	owned   bool // dir was opened for this file alone
	closed  chan struct{}
	once    sync.Once
}

// Snapshot is one version of the file. It never changes.
type Snapshot[T any] struct {
	Value    T
	Version  string        // of KingPin (the attribute user.kingpin.version); of other files the first 16 hex digits of the SHA-256
	Modified time.Time     // the file's own mtime
	Path     string        // where it was read: one of the directories
	good     bool          // false before the first good content
	next     chan struct{} // closed when there is a newer one
}

// Open follows the file at path, in a directory of its own. parse is given the content, which it may keep; an error, and a panic, keeps the last good
// value. It is called by one goroutine at a time. If the file can be read now, its value is there when Open returns. The only errors are of the
// arguments.
func Open[T any](path string, parse func([]byte) (T, error), o Options) (*File[T], error) {
	if path == "" || filepath.Base(path) == "/" || filepath.Base(path) == "." {
		return nil, fmt.Errorf("follow %q: no path of a file", path)
	}
	dir, err := OpenDir(DirOptions{Poll: o.Poll, Logger: o.Logger}, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	f, err := In(dir, filepath.Base(path), parse, o)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	f.owned = true
	return f, nil
}

// In follows the file called name in a directory that other files are followed in too.
func In[T any](dir *Dir, name string, parse func([]byte) (T, error), o Options) (*File[T], error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("follow %q: no name of a file", name)
	}
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &File[T]{parse: parse, changed: o.Changed, dir: dir, closed: make(chan struct{})}
	f.current.Store(&Snapshot[T]{next: make(chan struct{})})
	f.entry = &entry{name: name, limit: o.Limit, log: o.Logger, take: f.take, report: f.report}
	if err := dir.add(f.entry); err != nil {
		return nil, err
	}
	return f, nil
}

// Load is the last good value; ok is false if there was none yet.
func (f *File[T]) Load() (value T, ok bool) {
	s := f.current.Load()
	return s.Value, s.good
}

// Snapshot is the last good value with its version, and the zero Snapshot if there was none yet. It is never nil.
func (f *File[T]) Snapshot() *Snapshot[T] { return f.current.Load() }

// Good says whether this is a version of the file, and not what stands there before the first.
func (s *Snapshot[T]) Good() bool { return s.good }

// Err is what is wrong with the file now: it is missing, unreadable or broken. It is nil if the last good value is the content of the file.
func (f *File[T]) Err() error {
	if wrong := f.wrong.Load(); wrong != nil {
		return *wrong
	}
	return nil
}

// Path is the file in the directory that is preferred. Snapshot says where it was read.
func (f *File[T]) Path() string { return filepath.Join(f.dir.places[0].dir, f.entry.name) }

// Wait returns when there is a good value, and with an error when ctx is done or the file closed before.
func (f *File[T]) Wait(ctx context.Context) error {
	s := f.current.Load()
	if s.good {
		return nil
	}
	select {
	case <-s.next:
		return nil
	case <-f.closed:
		return fmt.Errorf("wait for %s: %w", f.Path(), fs.ErrClosed)
	case <-ctx.Done():
		if wrong := f.Err(); wrong != nil {
			return fmt.Errorf("wait for a good file (%w): %w", ctx.Err(), wrong)
		}
		return fmt.Errorf("wait for %s: %w", f.Path(), ctx.Err())
	}
}

// Changes yields the last good version, or the first one when it comes, and then each later one until ctx is done or the file closed. Versions that come while the loop's body is at work
// may be skipped, never the newest.
func (f *File[T]) Changes(ctx context.Context) iter.Seq[*Snapshot[T]] {
	return func(yield func(*Snapshot[T]) bool) {
		s := f.current.Load()
		for {
			if ctx.Err() != nil || s.good && !yield(s) {
				return
			}
			select {
			case <-s.next:
				s = f.current.Load()
			case <-f.closed:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// Refresh looks at the file now, and returns when what was there is loaded: for who has just written it.
func (f *File[T]) Refresh(ctx context.Context) error {
	if err := f.dir.refresh(ctx, f.entry); err != nil {
		return fmt.Errorf("read %s again: %w", f.Path(), err)
	}
	return nil
}

// Close ends the following and waits for it: afterwards nothing is parsed and Changed is not called. The last value stays. It does not wait for ever for a
// system call that a dead mount never answers.
func (f *File[T]) Close() (err error) {
	f.once.Do(func() { // whoever comes second waits, too
		close(f.closed)
		f.dir.remove(f.entry)
		if f.owned {
			err = f.dir.Close()
		}
	})
	return err
}

// take makes a value of what was read. The Dir's loop calls it.
func (f *File[T]) take(c content) error {
	value, err := f.parsed(c.data)
	if err != nil {
		return err
	}
	next := &Snapshot[T]{
		Value: value, Version: c.version, Modified: c.info.ModTime(), Path: c.path, good: true, next: make(chan struct{}),
	}
	if next.Version == "" {
		next.Version = fmt.Sprintf("%x", c.sum[:8])
	}
	f.report(nil) // first, so that who waited for the value sees no old complaint
	last := f.current.Swap(next)
	close(last.next)
	if f.changed != nil {
		f.changed()
	}
	return nil
}

// parsed is what parse makes of a content. What comes in a file is whatever somebody has published, for all machines at once: if it makes
// parse panic, that is one more way to be broken, and no reason for the end of every process that follows it.
func (f *File[T]) parsed(data []byte) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.entry.log.Error("parse panicked", "file", f.entry.name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("parse panicked: %v", p)
		}
	}()
	return f.parse(data)
}

// report keeps what is wrong, nil for nothing.
func (f *File[T]) report(err error) {
	if err == nil {
		f.wrong.Store(nil)
		return
	}
	f.wrong.Store(&err)
}

// checksum tells contents apart.
type checksum = [sha256.Size]byte
