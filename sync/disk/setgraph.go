package disk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Graph is the dependencies that this machine follows, as the last SetGraph said.
func (s *Store) Graph() Graph {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.graph
}

// SetGraph says which dependencies this machine follows and what is in them; as a whole, and durably. What was there before keeps
// its ids and times.
func (s *Store) SetGraph(edges map[registry.Dependency][]registry.Edge) error {
	err := s.do(func(p *plan) error { return p.setGraph(edges) })
	if err != nil {
		return fmt.Errorf("set the graph of %d dependencies: %w", len(edges), err)
	}
	return nil
}

func (p *plan) setGraph(edges map[registry.Dependency][]registry.Edge) error {
	before, id := p.graph()
	next := func() uint64 { id++; return id - 1 }
	now := p.last.after(p.store.now()).Time()
	dirs := make([]Dir, 0, len(edges))
	for name, members := range edges {
		old, known := before.Dir(name)
		dir := Dir{ID: old.ID, Name: name, Changed: old.Changed}
		if !known {
			dir.ID = next()
		}
		members = slices.Compact(slices.Sorted(slices.Values(members)))
		kept := 0
		for _, edge := range members {
			link, ok := old.Link(edge)
			if ok {
				kept++
			} else {
				link = Link{ID: next(), Edge: edge, Changed: now}
			}
			dir.Links = append(dir.Links, link)
		}
		if !known || kept < len(dir.Links) || kept < len(old.Links) {
			dir.Changed = now
		}
		dirs = append(dirs, dir)
	}
	if id > lastID {
		return fmt.Errorf("no ids below %d are left: %w", lastID, registry.ErrInvalid)
	}
	g := newGraph(dirs)
	delta := diff(before, g)
	if len(delta) == 0 {
		return nil
	}
	p.stamp() // it is the time of the change, so it counts
	p.planned, p.id = &g, id
	p.ops = append(p.ops, graphChange{delta: delta, next: &g}, mark{stamp: p.last, id: id})
	return nil
}

// graph as the ops planned so far leave it, and the next id.
func (p *plan) graph() (Graph, uint64) {
	if p.planned != nil {
		return *p.planned, p.id
	}
	p.store.mu.RLock()
	defer p.store.mu.RUnlock()
	return p.store.index.graph, p.store.index.id
}

// graphChange is how one graph became another.
type graphChange struct {
	told  bool // of the graph that the watchers have heard of
	delta []dirChange
	next  *Graph // the outcome, where it is known; not encoded
}

// dirChange is how one directory changed.
type dirChange struct {
	dir  Dir // its links: those that are new
	gone bool
	lost []uint64 // ids of the links that went
}

// diff says what makes b of a.
func diff(a, b Graph) []dirChange {
	var delta []dirChange
	for _, d := range a.Dirs {
		if still, ok := b.Dir(d.Name); !ok || still.ID != d.ID {
			delta = append(delta, dirChange{dir: Dir{ID: d.ID, Name: d.Name}, gone: true})
		}
	}
	for _, d := range b.Dirs {
		old, ok := a.Dir(d.Name)
		if !ok || old.ID != d.ID {
			delta = append(delta, dirChange{dir: d})
			continue
		}
		change := dirChange{dir: Dir{ID: d.ID, Name: d.Name, Changed: d.Changed}}
		for _, l := range d.Links {
			if was, ok := old.Link(l.Edge); !ok || was.ID != l.ID {
				change.dir.Links = append(change.dir.Links, l)
			}
		}
		for _, l := range old.Links {
			if is, ok := d.Link(l.Edge); !ok || is.ID != l.ID {
				change.lost = append(change.lost, l.ID)
			}
		}
		if len(change.dir.Links) > 0 || len(change.lost) > 0 || !old.Changed.Equal(d.Changed) {
			delta = append(delta, change)
		}
	}
	return delta
}

func (g Graph) equal(other Graph) bool { return len(diff(g, other)) == 0 }

func (o graphChange) apply(x *index) {
	g := &x.graph
	if o.told {
		g = &x.told
	}
	if o.next != nil {
		*g = *o.next
		return
	}
	for _, change := range o.delta {
		g.change(change)
	}
}

// change edits a graph in place, for the time when the journal is read and nobody has seen the graph yet. The ids are not indexed.
func (g *Graph) change(c dirChange) {
	i := slices.IndexFunc(g.Dirs, func(d Dir) bool { return d.ID == c.dir.ID })
	switch {
	case c.gone:
		if i >= 0 {
			g.Dirs = slices.Delete(g.Dirs, i, i+1)
		}
		return
	case i < 0:
		g.Dirs = append(g.Dirs, c.dir)
		return
	}
	d := &g.Dirs[i]
	d.Changed = c.dir.Changed
	if len(c.lost) > 0 {
		d.Links = slices.DeleteFunc(d.Links, func(l Link) bool { return slices.Contains(c.lost, l.ID) })
	}
	d.Links = append(d.Links, c.dir.Links...)
}

func (o graphChange) append(b []byte) []byte {
	b = appendBool(append(b, opGraph), o.told)
	b = binary.AppendUvarint(b, uint64(len(o.delta)))
	for _, c := range o.delta {
		b = binary.AppendUvarint(b, c.dir.ID)
		b = appendString(b, string(c.dir.Name))
		b = binary.AppendVarint(b, unixNano(c.dir.Changed))
		b = appendBool(b, c.gone)
		b = binary.AppendUvarint(b, uint64(len(c.dir.Links)))
		for _, l := range c.dir.Links {
			b = binary.AppendUvarint(b, l.ID)
			b = appendString(b, string(l.Edge))
			b = binary.AppendVarint(b, unixNano(l.Changed))
		}
		b = binary.AppendUvarint(b, uint64(len(c.lost)))
		for _, id := range c.lost {
			b = binary.AppendUvarint(b, id)
		}
	}
	return b
}

// unixNano of a time that was a stamp, or is zero.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (d *decoder) graph() op {
	o := graphChange{told: d.byte() != 0}
	for range d.uint() {
		var c dirChange
		c.dir.ID = d.uint()
		c.dir.Name = registry.Dependency(d.string())
		c.dir.Changed = time.Unix(0, d.int())
		c.gone = d.byte() != 0
		for range d.uint() {
			l := Link{ID: d.uint(), Edge: registry.Edge(d.string()), Changed: time.Unix(0, d.int())}
			if d.failed {
				return nil
			}
			c.dir.Links = append(c.dir.Links, l)
		}
		for range d.uint() {
			id := d.uint()
			if d.failed {
				return nil
			}
			c.lost = append(c.lost, id)
		}
		if d.failed {
			return nil
		}
		o.delta = append(o.delta, c)
	}
	return o
}
