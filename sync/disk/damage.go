package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// condemn deals with a body that could not be opened because of cause. It returns nil if opening it again is worth while.
func (s *Store) condemn(stamp Stamp, cause error) error {
	var retry bool
	err := s.do(func(p *plan) error {
		retry = false
		s.mu.RLock()
		v := s.index.versions[stamp]
		s.mu.RUnlock()
		if v == nil {
			retry = true
			return nil
		}
		if file, err := s.openChecked(s.dir.body(stamp), v); err == nil {
			retry = true // somebody mended it before us
			return file.Close()
		}
		retry = p.mend(v)
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("body %s: %w", stamp, errors.Join(cause, err))
	case retry:
		return nil
	}
	return fmt.Errorf("body %s: %w: %w", stamp, registry.ErrChecksum, cause)
}

// mend takes a bad body out of use. It returns true if the body is good again.
func (p *plan) mend(v *version) bool {
	s, e := p.store, v.entry
	if v.lost {
		return false
	}
	s.quarantine(e)
	if current := p.current(e.File); current == nil || current.entry.Stamp != e.Stamp {
		s.log.Warn("damaged old version dropped", "name", e.Name, "stamp", e.Stamp)
		p.ops = append(p.ops, drop{e.Stamp})
		return false
	}
	if s.relink(v) {
		s.log.Warn("damaged body replaced by its plain file", "name", e.Name, "stamp", e.Stamp)
		return true
	}
	s.mu.RLock()
	old := slices.Clone(s.index.files[e.File].old)
	s.mu.RUnlock()
	for _, older := range slices.Backward(old) {
		if older.entry.Version == "" {
			continue // never written: to readers that is no good content but none
		}
		body, err := s.read(older)
		if err != nil {
			continue // found when somebody opens it
		}
		back := older.entry
		back.Order, back.Origin = 0, 0 // so that whatever the registry says is newer
		p.put(back, body, true)
		p.ops = append(p.ops, drop{e.Stamp})
		s.log.Error("damaged version replaced by an older one", "name", e.Name, "stamp", e.Stamp, "older", older.entry.Version)
		return false
	}
	p.ops = append(p.ops, damage{e.File})
	s.log.Error("damaged version, and no older one is kept", "name", e.Name, "stamp", e.Stamp)
	return false
}

// maxQuarantine is how many bad bodies are kept to be looked at.
const maxQuarantine = 32

// quarantine moves a bad body to where it can be looked at.
func (s *Store) quarantine(e Entry) {
	err := os.Rename(s.dir.body(e.Stamp), s.dir.quarantine(e.Stamp))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("damaged body not moved to quarantine", "name", e.Name, "err", err)
		_ = os.Remove(s.dir.body(e.Stamp))
	}
}

// relink makes the body again from the plain file, which is good where only the body's name was lost.
func (s *Store) relink(v *version) bool {
	file, err := s.openChecked(s.dir.plain(v.entry.File), v)
	if err != nil {
		return false
	}
	defer file.Close()
	return os.Link(s.dir.plain(v.entry.File), s.dir.body(v.entry.Stamp)) == nil
}

// read returns the bytes of a version, checked.
func (s *Store) read(v *version) ([]byte, error) {
	file, err := s.openChecked(s.dir.body(v.entry.Stamp), v)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// Damaged is the files whose published body must be fetched again, sorted: there is no good body, or an older one serves in its
// place. A Commit of the file ends it.
func (s *Store) Damaged() []File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.damagedFiles()
}
