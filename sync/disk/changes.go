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

// Changes yields what was committed, removed or linked, first of all at once what the watchers have not heard of, be that nothing.
// Changes that come while the consumer works are yielded together afterwards, and none is lost. It ends with ctx, or with
// the store.
func (s *Store) Changes(ctx context.Context) iter.Seq[Changed] {
	return func(yield func(Changed) bool) {
		f := &feed{files: map[File]struct{}{}, wake: make(chan struct{}, 1)}
		s.mu.Lock()
		s.index.backlog(f)
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
			s.mu.Lock()
			changed := f.take()
			s.mu.Unlock()
			if !yield(changed) {
				return
			}
		}
	}
}

// feed is what one consumer has not seen yet. The store's mu guards it.
type feed struct {
	files map[File]struct{}
	graph bool
	wake  chan struct{}
}

// backlog is what the watchers have not heard of.
func (x *index) backlog(f *feed) {
	for name, known := range x.files {
		if v := known.current; v != nil && known.told < v.entry.Stamp {
			f.files[name] = struct{}{}
		}
	}
	for name := range x.removed {
		f.files[name] = struct{}{}
	}
	f.graph = !x.graph.equal(x.told)
}

// add notes what an op changed.
func (f *feed) add(o op) {
	switch o := o.(type) {
	case put:
		f.files[o.entry.File] = struct{}{}
	case remove:
		f.files[o.file] = struct{}{}
	case graphChange:
		if o.told {
			return
		}
		f.graph = true
	default:
		return
	}
	f.notify()
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
	clear(f.files)
	f.graph = false
	return changed
}

func compareFiles(a, b File) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// damagedFiles sorted.
func (x *index) damagedFiles() []File { return slices.SortedFunc(maps.Keys(x.damaged), compareFiles) }
