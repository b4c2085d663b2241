package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// stage puts a second name on a body, outside the plain tree and one rename away from its place there. What can fail for want
// of space fails here, before the commit.
func (s *Store) stage(e Entry) error {
	staged := s.dir.staged(e.Stamp)
	err := os.Link(s.dir.body(e.Stamp), staged)
	if errors.Is(err, fs.ErrExist) { // a crash has left it: it need not be the same file
		if err = os.Remove(staged); err == nil {
			err = os.Link(s.dir.body(e.Stamp), staged)
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EMLINK) {
		err = copyBody(s.dir.body(e.Stamp), staged, e.Stamp) // a file system without hard links
	}
	if err != nil {
		return fmt.Errorf("stage plain file of %s: %w", e.File, err)
	}
	return nil
}

func copyBody(from, to string, stamp Stamp) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeBody(to, stamp, data, false)
}

// publish brings the plain tree to what the ops say. The commit has happened: what fails here is tried again later.
func (s *Store) publish(ops []op) {
	last := map[File]Stamp{}
	for _, o := range ops {
		switch o := o.(type) {
		case put:
			last[o.entry.File] = o.entry.Stamp
		case remove:
			last[o.file] = 0
		case damage:
			last[o.file] = 0
		}
	}
	for f, stamp := range last {
		s.place(f, stamp)
		s.step(stepPlain)
	}
}

// place renames the staged file to its place in the plain tree, or with a zero stamp removes the file there.
func (s *Store) place(f File, stamp Stamp) {
	var err error
	if stamp == 0 {
		if err = os.Remove(s.dir.plain(f)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = os.Rename(s.dir.staged(stamp), s.dir.plain(f))
	}
	if err != nil {
		s.log.Warn("plain file is behind", "name", f.Name, "path", s.dir.plain(f), "err", err)
		s.lagging[f] = struct{}{}
		return
	}
	delete(s.lagging, f)
}
