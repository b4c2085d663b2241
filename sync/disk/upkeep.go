package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

const (
	// chunk is how many files upkeep looks at before it lets commits pass.
	chunk = 128
	// retryPlain is how often a plain file that could not be put in place is tried again.
	retryPlain = 10 * time.Second
)

// upkeep is the goroutine that belongs to an open store. It first puts right what a crash left in the directory, and then does
// what no commit should wait for.
func (s *Store) upkeep() {
	defer close(s.kept)
	if s.readOnly != nil {
		close(s.repaired)
		return
	}
	s.repairPlain()
	s.sweepStage()
	s.sweepBodies()
	s.sweepQuarantine()
	close(s.repaired)
	for {
		var due <-chan time.Time
		var timer *time.Timer
		if wait := s.behind(); wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-s.done:
		case <-s.kick:
		case <-due:
			s.settleBodies()
		}
		if timer != nil {
			timer.Stop()
		}
		if !s.tidyUp() {
			s.settleBodies()
			return
		}
	}
}

// tidyUp does what has come up; false once the store is closed.
func (s *Store) tidyUp() bool {
	s.writing.Lock()
	grown := s.grown() && !s.closed
	s.writing.Unlock()
	if grown {
		s.settleBodies() // so that commits wait for the few that come meanwhile, and not for all
	}
	return s.alone(func() {
		if s.grown() {
			if err := s.checkpoint(); err != nil {
				s.log.Warn("journal goes on growing", "bytes", s.journal.size, "err", err)
			}
		}
		for f := range s.lagging {
			s.restage(f)
		}
	})
}

// alone runs f while nobody else changes the directory, unless the store is closed.
func (s *Store) alone(f func()) bool {
	s.writing.Lock()
	defer s.settle()
	defer s.writing.Unlock()
	if s.closed {
		return false
	}
	f()
	return true
}

// behind says how long what is left to be done may wait; 0: there is nothing.
func (s *Store) behind() time.Duration {
	s.writing.Lock()
	defer s.settle()
	defer s.writing.Unlock()
	switch {
	case len(s.unsynced.stamps) > 0 && !s.unsynced.doubtful:
		return max(time.Until(s.unsynced.due), 1)
	case len(s.lagging) > 0:
		return retryPlain
	}
	return 0
}

// wakeUpkeep makes upkeep look again.
func (s *Store) wakeUpkeep() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// restage puts the plain file of a name in place from its body, or removes it. The caller holds writing.
func (s *Store) restage(f File) {
	s.mu.RLock()
	v := s.index.current(f)
	s.mu.RUnlock()
	if v == nil || v.lost {
		s.place(f, 0)
		return
	}
	if err := s.stage(v.entry); err != nil {
		s.log.Warn("plain file is behind", "name", f.Name, "path", s.dir.plain(f), "err", err)
		s.lagging[f] = struct{}{}
		return
	}
	s.place(f, v.entry.Stamp)
	_ = os.Remove(s.dir.staged(v.entry.Stamp)) // rename does nothing where both are the same inode
}

// repairPlain makes the plain tree what the index says.
func (s *Store) repairPlain() {
	for _, kind := range kinds {
		var files []File
		for _, e := range s.List(kind) {
			files = append(files, e.File)
		}
		_ = eachName(s.dir.path("files", kind.String()), func(name string) {
			if _, ok := s.Current(File{kind, name}); !ok {
				files = append(files, File{kind, name})
			}
		})
		for len(files) > 0 {
			n := min(chunk, len(files))
			if !s.alone(func() { s.repairFiles(files[:n]) }) {
				return
			}
			files = files[n:]
		}
	}
}

// repairFiles looks at plain files by their names, be they files of the index or not. The caller holds writing.
func (s *Store) repairFiles(files []File) {
	for _, f := range files {
		s.mu.RLock()
		v := s.index.current(f)
		s.mu.RUnlock()
		info, err := os.Lstat(s.dir.plain(f))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			s.log.Warn("plain file cannot be looked at", "name", f.Name, "err", err)
		case v == nil && err == nil && !info.IsDir():
			s.log.Info("plain file of no followed name removed", "path", s.dir.plain(f))
			s.place(f, 0)
		case v != nil && !v.lost && (err != nil || !s.isBody(info, v)):
			s.restage(f)
		}
	}
}

// isBody says whether a plain file is the body of v.
func (s *Store) isBody(info fs.FileInfo, v *version) bool {
	if info.Mode().IsRegular() && info.Size() == v.entry.Size && info.ModTime().UnixNano() == int64(v.entry.Stamp) {
		return true
	}
	body, err := os.Lstat(s.dir.body(v.entry.Stamp)) // touched, or a file system with coarse times
	return err != nil || os.SameFile(info, body)
}

// sweepStage removes what a crash left one rename away from its place.
func (s *Store) sweepStage() {
	s.alone(func() {
		_ = eachName(s.dir.path("stage"), func(name string) {
			if err := os.RemoveAll(s.dir.path("stage", name)); err != nil {
				s.log.Warn("leftover not removed", "err", err)
			}
		})
	})
}

// sweepBodies removes bodies that nobody names, which crashed commits leave, and forgets old versions whose bodies are gone.
func (s *Store) sweepBodies() {
	s.mu.RLock()
	last := s.index.last
	s.mu.RUnlock()
	seen := map[Stamp]struct{}{}
	var orphans []Stamp
	err := eachName(s.dir.bodies(), func(name string) {
		stamp, err := parseStamp(name)
		if err != nil {
			return
		}
		seen[stamp] = struct{}{}
		if _, ok := s.ByStamp(stamp); !ok {
			orphans = append(orphans, stamp)
		}
	})
	if err != nil {
		s.log.Warn("bodies cannot be listed", "err", err)
		return
	}
	s.step(stepListed)
	s.alone(func() {
		for _, stamp := range orphans {
			if _, ok := s.ByStamp(stamp); ok {
				continue // it was on its way
			}
			if err := os.Remove(s.dir.body(stamp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.log.Warn("orphan not removed", "err", err)
			}
		}
	})
	var gone []Stamp
	for _, e := range s.Superseded() {
		if _, ok := seen[e.Stamp]; !ok && e.Stamp <= last {
			gone = append(gone, e.Stamp)
		}
	}
	if len(gone) == 0 {
		return
	}
	if err := s.Drop(gone...); err != nil && !errors.Is(err, fs.ErrClosed) {
		s.log.Warn("old versions without a body not forgotten", "err", err)
	}
}

// sweepQuarantine lets the oldest bad bodies go.
func (s *Store) sweepQuarantine() {
	var stamps []Stamp
	_ = eachName(s.dir.path("quarantine"), func(name string) {
		if stamp, err := parseStamp(name); err == nil {
			stamps = append(stamps, stamp)
		}
	})
	slices.Sort(stamps)
	for _, stamp := range stamps[:max(0, len(stamps)-maxQuarantine)] {
		if err := os.RemoveAll(s.dir.quarantine(stamp)); err != nil {
			s.log.Warn("bad body not removed", "err", err)
		}
	}
}

func parseStamp(name string) (Stamp, error) {
	if len(name) != 16 {
		return 0, registry.ErrInvalid
	}
	n, err := strconv.ParseUint(name, 16, 64)
	return Stamp(n), err
}

// eachName calls f with every name in a directory, in no order.
func eachName(path string, f func(name string)) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			f(name)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
