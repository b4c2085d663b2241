package disk

import (
	"cmp"
	"slices"
)

// Removal is a file that went away.
type Removal struct {
	File
	Stamp Stamp // of the removal, for Announced
}

// Announced says that the watchers have heard of these versions, or removals. It does not wait for the disk: a crash may forget
// it, and the announcement is made twice. Stamps that are no longer here are ignored.
func (s *Store) Announced(stamps ...Stamp) {
	s.mu.Lock()
	for _, stamp := range stamps {
		if f, ok := s.index.fileOf(stamp); ok {
			s.hear(told{f, stamp})
		}
	}
	s.mu.Unlock()
	s.settle()
}

// hear applies what was announced, to be recorded when the directory is free. The caller holds mu.
func (s *Store) hear(o op) {
	o.apply(s.index)
	s.heard = append(s.heard, o)
}

// fileOf finds the file that a version or a removal belongs to.
func (x *index) fileOf(stamp Stamp) (File, bool) {
	if v := x.versions[stamp]; v != nil {
		return v.entry.File, true
	}
	for f, removed := range x.removed {
		if removed.stamp == stamp {
			return f, true
		}
	}
	return File{}, false
}

// Unannounced is the current versions that the watchers have not heard of, in the order of their commits.
func (s *Store) Unannounced() []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []Entry
	for _, known := range s.index.news {
		entries = append(entries, known.current.entry)
	}
	return byStamp(entries)
}

// Removed is the removals that the watchers have not heard of, in their order. A file that came back since is not among them.
func (s *Store) Removed() []Removal {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var removals []Removal
	for f, removed := range s.index.removed {
		if removed.told != 0 {
			removals = append(removals, Removal{f, removed.stamp})
		}
	}
	slices.SortFunc(removals, func(a, b Removal) int { return cmp.Compare(a.Stamp, b.Stamp) })
	return removals
}

// LastAnnounced is the version of a file that the watchers heard of last; 0 if they have never heard of the file, or heard that it was
// removed. It tells a new file from a changed one, and may be a version that is no longer here.
func (s *Store) LastAnnounced(f File) Stamp {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if known := s.index.files[f]; known != nil {
		return known.told
	}
	return 0
}

// AnnouncedGraph is the graph that the watchers have heard of. What differs from Graph is to be announced.
func (s *Store) AnnouncedGraph() Graph {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.told
}

// GraphAnnounced says that the watchers have heard of everything in a graph that Graph returned. Like Announced it does not wait.
func (s *Store) GraphAnnounced(g Graph) {
	s.mu.Lock()
	s.hear(graphChange{told: true, delta: diff(s.index.told, g), next: &g})
	s.mu.Unlock()
	s.settle()
}
