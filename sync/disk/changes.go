package disk

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
)

// Changed is what a consumer of Changes has to look at again. It says where, not what: the store is to be asked for its present state.
type Changed struct {
	Files []File // sorted; with a new current version, or removed
	Graph bool
}

// Changes yields what was committed, removed or linked; first of all, at once, what the watchers have not heard of, be that
// nothing. Changes that come while the consumer works are yielded together afterwards, and none is lost. It ends with ctx, or
// with the store.
func (s *Store) Changes(ctx context.Context) iter.Seq[Changed] {
	return func(yield func(Changed) bool) {
		f := &feed{files: map[File]struct{}{}, note: (*feed).changed, wake: make(chan struct{}, 1)}
		s.follow(ctx, f, s.index.backlog, func() bool {
			s.mu.Lock()
			changed := f.take()
			s.mu.Unlock()
			return yield(changed)
		})
	}
}

// Repairs yields Damaged, at once if there is any, and again whenever a file is added to it. It ends with ctx, or with the store.
func (s *Store) Repairs(ctx context.Context) iter.Seq[[]File] {
	return func(yield func([]File) bool) {
		f := &feed{note: (*feed).damaged, wake: make(chan struct{}, 1)}
		s.follow(ctx, f, func(*feed) {}, func() bool {
			damaged := s.Damaged()
			return len(damaged) == 0 || yield(damaged)
		})
	}
}

// follow calls next at once and whenever the feed noted something, until next says false. Setup runs when the feed begins.
func (s *Store) follow(ctx context.Context, f *feed, setup func(*feed), next func() bool) {
	s.mu.Lock()
	setup(f)
	s.feeds[f] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.feeds, f)
		s.mu.Unlock()
	}()
	f.notify()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.done:
			return
		case <-f.wake:
		}
		if ctx.Err() != nil || !next() {
			return
		}
	}
}

// feed is what one consumer has not seen yet. The store's mu guards it.
type feed struct {
	files map[File]struct{}
	graph bool
	note  func(*feed, op) bool // notes what an op changed; true if the consumer should look
	wake  chan struct{}
}

// backlog is what the watchers have not heard of.
func (x *index) backlog(f *feed) {
	for name := range x.news {
		f.files[name] = struct{}{}
	}
	for name, removed := range x.removed {
		if removed.told != 0 {
			f.files[name] = struct{}{}
		}
	}
	f.graph = !x.graph.equal(x.told)
}

func (f *feed) changed(o op) bool {
	switch o := o.(type) {
	case put:
		f.files[o.entry.File] = struct{}{}
		return true
	case remove:
		f.files[o.file] = struct{}{}
		return true
	case graphChange:
		f.graph = f.graph || !o.told
		return !o.told
	}
	return false
}

func (f *feed) damaged(o op) bool {
	switch o := o.(type) {
	case put:
		return o.restored
	case damage:
		return true
	}
	return false
}

func (f *feed) notify() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() Changed {
	changed := Changed{
		Files: slices.SortedFunc(maps.Keys(f.files), compareFiles),
		Graph: f.graph,
	}
	f.files, f.graph = map[File]struct{}{}, false
	return changed
}

func compareFiles(a, b File) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
