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
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []Entry
	for _, known := range s.index.files {
		entries = appendEntries(entries, known.old)
	}
	return byStamp(entries)
}

// Expired is the superseded versions beyond the newest Options.Keep of each file, and all those of a removed file, oldest first:
// those to Drop as soon as nobody holds them.
func (s *Store) Expired() []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []Entry
	for _, known := range s.index.aged {
		entries = appendEntries(entries, known.expired(s.index.keep))
	}
	return byStamp(entries)
}

// SupersededOf is the superseded versions of one file, oldest first.
func (s *Store) SupersededOf(f File) []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if known := s.index.files[f]; known != nil {
		return appendEntries(nil, known.old)
	}
	return nil
}

// VersionsOf is the versions of one file whose bodies are here, the newest first. A version that was committed twice, since it came
// back after its successor was damaged, is there once.
func (s *Store) VersionsOf(f File) []Entry {
	entries := s.SupersededOf(f)
	if current, ok := s.Current(f); ok {
		entries = append(entries, current)
	}
	var versions []Entry
	for _, e := range slices.Backward(entries) {
		if e.Version != "" && !slices.ContainsFunc(versions, func(v Entry) bool { return v.Version == e.Version }) {
			versions = append(versions, e)
		}
	}
	return versions
}

func appendEntries(entries []Entry, versions []*version) []Entry {
	for _, v := range versions {
		entries = append(entries, v.entry)
	}
	return entries
}

// byStamp sorts entries in the order of their commits.
func byStamp(entries []Entry) []Entry {
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
