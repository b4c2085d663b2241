package follow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// place is one of the directories of a Dir. Its worker makes every system call that names a path in it, one at a time, because a dead
// mount may keep each for ever: then one goroutine is lost and not the Dir.
type place struct {
	dir  string
	jobs chan job
	done chan struct{} // closed when the worker has ended

	// The rest is the loop's.
	state   state
	err     error // why it is absent
	deaf    error // why there is no inotify watch, nil if there is one
	busy    bool
	since   time.Time // when the job under way was given out
	at      *entry    // the file that it looks at, if any
	waiters []chan struct{}
	tend    bool     // its directory is to be looked at
	drops   []*entry // files that are followed no longer
}

type state uint8

const (
	unknown state = iota
	there
	absent
	hung
)

// job is either a file to look at or, without one, the directory.
type job struct {
	entry *entry
	name  string
	limit int64
	last  *content
	force bool
	drop  bool // forget the file's own watches
}

type result struct {
	place     *place
	job       job
	content   *content // nil: see err
	err       error
	gone      bool  // the error is not the file's but the directory's
	rewatched bool  // the directory is another one, or watched anew: events may have been missed
	deaf      error // of a directory: why it is not watched
}

// happening is what inotify told about a place.
type happening struct {
	place    *place
	event    fsnotify.Event
	overflow bool
}

// worker owns the inotify watches of a place.
type worker struct {
	place   *place
	dir     *Dir
	watcher *fsnotify.Watcher
	heard   chan struct{} // closed when the listener has ended
	watched map[string]fs.FileInfo
	extra   map[*entry]needs
}

// needs are what has to be watched for one file beside the directory; empty for nothing.
type needs struct {
	dir  string // of the file that a symbolic link leads to
	file string // the file itself, which hears what the directory does not
}

func (w *worker) run() {
	defer close(w.place.done)
	for j := range w.place.jobs {
		r := result{place: w.place, job: j}
		switch {
		case j.drop:
			w.need(j.entry, needs{})
		case j.entry == nil:
			r.rewatched, r.deaf, r.err = w.tend()
		default:
			r.content, r.err = w.look(j)
			r.gone = gone(w.place.dir, r.err)
		}
		w.dir.results <- r // there is room for one of each place
	}
	w.deafen()
}

func (w *worker) deafen() {
	if w.watcher == nil {
		return
	}
	w.watcher.Close()
	<-w.heard
	w.watcher = nil
	clear(w.watched)
}

// tend sees that the directory is there and watched.
func (w *worker) tend() (rewatched bool, deaf, err error) {
	info, err := os.Stat(w.place.dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "follow", Path: w.place.dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		w.deafen() // the instance is not needed for a directory that is not there
		return false, nil, err
	}
	rewatched, deaf = w.watch(w.place.dir, info)
	for _, n := range w.extra {
		again := w.meet(n)
		rewatched = rewatched || again
	}
	return rewatched, deaf, nil
}

// watch watches a path unless the watch that it has is still good. A watch ends without a word when its file system is unmounted,
// and stays with the old directory when another takes its place.
func (w *worker) watch(path string, info fs.FileInfo) (fresh bool, err error) {
	if w.watcher == nil {
		if err := w.listen(); err != nil {
			return false, err
		}
	}
	listed := slices.Contains(w.watcher.WatchList(), path)
	if old := w.watched[path]; listed && old != nil && (os.SameFile(old, info) || !info.IsDir()) {
		return false, nil // of a file in a mount every version is another inode, and the first hears of all
	}
	if listed {
		_ = w.watcher.Remove(path) // an error says that the kernel was first
	}
	delete(w.watched, path)
	if err := w.watcher.Add(path); err != nil {
		return false, fmt.Errorf("watch %s: %w", path, err)
	}
	w.watched[path] = info
	return true, nil
}

func (w *worker) listen() error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	w.watcher, w.heard = watcher, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		errs := watcher.Errors
		for {
			h := happening{place: w.place}
			select {
			case event, ok := <-watcher.Events:
				if !ok {
					return
				}
				h.event = event
			case err, ok := <-errs:
				if !ok {
					errs = nil
					continue
				}
				h.overflow = errors.Is(err, fsnotify.ErrEventOverflow)
			}
			select {
			case w.dir.happenings <- h:
			case <-w.dir.closing:
			}
		}
	}(w.heard)
	return nil
}

// look reads a file, and sees that whatever changes it is watched before it is read.
func (w *worker) look(j job) (*content, error) {
	path := filepath.Join(w.place.dir, j.name)
	c, err := read(path, j.limit, j.last, j.force)
	if err != nil {
		return nil, err
	}
	n := needs{dir: c.link}
	if c.mounted || c.version != "" {
		n.file = path
	}
	if !w.need(j.entry, n) {
		return c, nil
	}
	return read(path, j.limit, nil, true)
}

// need watches what a file needs, and no longer what it needed before. It says whether a watch is new.
func (w *worker) need(e *entry, n needs) bool {
	old := w.extra[e]
	if old == n {
		return false
	}
	delete(w.extra, e)
	if n != (needs{}) {
		w.extra[e] = n
	}
	for _, path := range []string{old.dir, old.file} {
		w.unneeded(path)
	}
	return w.meet(n)
}

// meet watches what a file needs. Without it there is still the poll.
func (w *worker) meet(n needs) (fresh bool) {
	for _, path := range []string{n.dir, n.file} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			again, _ := w.watch(path, info)
			fresh = fresh || again
		}
	}
	return fresh
}

// unneeded watches a path no longer, unless somebody needs it.
func (w *worker) unneeded(path string) {
	if path == "" || path == w.place.dir || w.watcher == nil {
		return
	}
	for _, n := range w.extra {
		if n.dir == path || n.file == path {
			return
		}
	}
	_ = w.watcher.Remove(path) // an error says that the kernel was first
	delete(w.watched, path)
}
