package disk

import (
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
)

// Commit makes versions current: all of them or, with an error, none. They are durable when it returns, and readers see them
// at one moment. The entries are the current versions of the files afterwards, in the order of the commits. Commits of many
// goroutines share their waits for the disk: who has much to commit lets as many as possible wait at once (BenchmarkFirstBoot).
//
// A commit whose Order is older than the current one's is ignored. One with the same bytes makes no new version: the current
// one keeps its stamp and takes over version, order and author. After damage anything is taken that can be read.
func (s *Store) Commit(commits ...Commit) ([]Entry, error) {
	wanted := make([]Entry, len(commits))
	for i, c := range commits {
		if err := c.File.validate(); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		wanted[i] = Entry{
			File: c.File, Version: c.Version, Order: c.Order, Size: int64(len(c.Body)), SHA256: registry.Sum(c.Body),
			Author: c.Author, Message: c.Message, Published: c.Published.Round(0).UTC(), Origin: c.Origin,
		}
	}
	entries := make([]Entry, len(commits))
	err := s.do(func(p *plan) error {
		for i, e := range wanted {
			entries[i] = p.commit(e, commits[i].Body)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", describe(commits), err)
	}
	return entries, nil
}

// Remove ends a file that is no longer followed: its plain file goes, its versions are superseded. Nothing happens to a file that
// is not there.
func (s *Store) Remove(f File) error {
	err := s.do(func(p *plan) error {
		if p.current(f) != nil {
			p.remove(f)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", f, err)
	}
	return nil
}

func describe(commits []Commit) string {
	switch len(commits) {
	case 0:
		return "nothing"
	case 1:
		return commits[0].File.String()
	}
	return fmt.Sprintf("%s and %d more", commits[0].File, len(commits)-1)
}

// current version of a file, as the ops planned so far leave it.
func (p *plan) current(f File) *version {
	if v, ok := p.seen[f]; ok {
		return v
	}
	p.store.mu.RLock()
	defer p.store.mu.RUnlock()
	return p.store.index.current(f)
}

// stamp allots the next one.
func (p *plan) stamp() Stamp {
	p.last = p.last.after(p.store.now())
	return p.last
}

func (p *plan) commit(e Entry, body []byte) Entry {
	v := p.current(e.File)
	if v == nil || v.lost {
		return p.put(e, body, false)
	}
	current := v.entry
	same := current.SHA256 == e.SHA256 && current.Size == e.Size
	switch {
	case e.Order < current.Order:
		return current
	case !same:
		return p.put(e, body, false)
	case e.Version == current.Version && e.Order == current.Order && !p.store.restored(e.File):
		return current
	}
	current.Version, current.Order = e.Version, e.Order
	current.Author, current.Message, current.Published = e.Author, e.Message, e.Published
	p.ops = append(p.ops, retitle{
		file: e.File, version: e.Version, order: e.Order, author: e.Author, message: e.Message, published: e.Published,
	})
	p.seen[e.File] = &version{entry: current}
	return current
}

// put plans a new current version. The entry gets its stamp.
func (p *plan) put(e Entry, body []byte, restored bool) Entry {
	e.Stamp = p.stamp()
	if v := p.current(e.File); v != nil {
		e.Name = v.entry.Name // one string for all versions
	} else {
		e.Name = strings.Clone(e.Name)
	}
	if body == nil {
		body = []byte{}
	}
	p.ops = append(p.ops, put{entry: e, restored: restored, data: body})
	p.seen[e.File] = &version{entry: e}
	return e
}

func (p *plan) remove(f File) {
	p.ops = append(p.ops, remove{file: f, stamp: p.stamp()})
	p.seen[f] = nil
}

// restored says whether a file is damaged, be its current version an older one that was brought back or lost altogether.
func (s *Store) restored(f File) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, damaged := s.index.damaged[f]
	return damaged
}
