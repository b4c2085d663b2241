package disk

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// Superseded is the versions that are current no longer and whose bodies are still here, oldest first. No body is deleted
// until Drop says that nobody holds it.
func (s *Store) Superseded() []Entry {
	return s.history(func(known *file) []*version { return known.old })
}

// Expired is the superseded versions beyond the newest Options.Keep of each file, and all those of a removed file, oldest first:
// those to Drop as soon as nobody holds them.
func (s *Store) Expired() []Entry {
	return s.history(func(known *file) []*version {
		if known.current == nil {
			return known.old
		}
		return known.old[:max(0, len(known.old)-max(s.keep, 0))]
	})
}

// SupersededOf is the superseded versions of one file, oldest first.
func (s *Store) SupersededOf(f File) []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []Entry
	if known := s.index.files[f]; known != nil {
		for _, v := range known.old {
			entries = append(entries, v.entry)
		}
	}
	return entries
}

func (s *Store) history(of func(*file) []*version) []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []Entry
	for _, known := range s.index.files {
		for _, v := range of(known) {
			entries = append(entries, v.entry)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Stamp, b.Stamp) })
	return entries
}

// Drop deletes the bodies of superseded versions. The caller has made sure that nobody holds them. A stamp that is not here is
// ignored; that of a current version is refused with registry.ErrInvalid, and nothing is dropped.
func (s *Store) Drop(stamps ...Stamp) error {
	err := s.do(func(p *plan) error {
		for _, stamp := range stamps {
			e, ok := s.ByStamp(stamp)
			if !ok {
				continue
			}
			if v := p.current(e.File); v != nil && v.entry.Stamp == stamp {
				return fmt.Errorf("%s is current: %w", e.File, registry.ErrInvalid)
			}
			p.ops = append(p.ops, drop{stamp})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	return nil
}
