package manageddata

import (
	"context"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// MappedList is a JSON object of lists: the old ManagedMappedList. In each list an item is once, unless Options.Duplicates says
// otherwise. Its methods may be called from any goroutine.
type MappedList[K, V comparable] struct {
	*data[map[K][]V, map[K][]V]
	duplicates bool
}

// OpenMappedList follows config.manageddata.DOMAIN.KEY as a map of lists. The errors are of the arguments; a missing file is none.
func OpenMappedList[K, V comparable](domain, key string, o Options) (*MappedList[K, V], error) {
	d, err := open(domain, key, o, codec[map[K][]V, map[K][]V]{
		parse: parseMap[K, []V], load: func(m map[K][]V) map[K][]V { return m }, format: formatMap[K, []V],
	})
	if err != nil {
		return nil, err
	}
	return &MappedList[K, V]{d, o.Duplicates}, nil
}

// List is a copy of the list of k; nil if there is none.
func (m *MappedList[K, V]) List(k K) []V { return slices.Clone(m.file.Snapshot().Value[k]) }

// Contains says whether v is in the list of k.
func (m *MappedList[K, V]) Contains(k K, v V) bool {
	return slices.Contains(m.file.Snapshot().Value[k], v)
}

// Found are those of the items that are in the list of k.
func (m *MappedList[K, V]) Found(k K, items ...V) []V {
	list := m.file.Snapshot().Value[k]
	var found []V
	for _, v := range items {
		if slices.Contains(list, v) {
			found = append(found, v)
		}
	}
	return found
}

// View is the present version. The lists in it must not be changed.
func (m *MappedList[K, V]) View() View[K, []V] { return View[K, []V]{m.file.Snapshot()} }

// Changes yields the present version, or the first when it comes, and then each change until ctx is done. Of versions that come
// while the loop's body is at work only the newest is sure to be seen.
func (m *MappedList[K, V]) Changes(ctx context.Context) iter.Seq[View[K, []V]] {
	return views(ctx, m.data, func(s *follow.Snapshot[map[K][]V]) View[K, []V] { return View[K, []V]{s} })
}

// Update changes the lists by f, which is given a copy of the newest version and may run again if others were faster. If f fails, nothing
// is changed and its error is returned. The same result makes no version.
func (m *MappedList[K, V]) Update(ctx context.Context, f func(map[K][]V) error) error {
	return m.change(ctx, &change[map[K][]V]{apply: func(lists map[K][]V) (map[K][]V, error) {
		if lists == nil {
			lists = map[K][]V{}
		}
		return lists, f(lists)
	}})
}

// Add appends items to the list of k, which may be new.
func (m *MappedList[K, V]) Add(ctx context.Context, k K, items ...V) error {
	items = copied(items)
	return m.Update(ctx, func(lists map[K][]V) error {
		lists[k] = m.tidy(append(lists[k], copied(items)...))
		return nil
	})
}

// Remove removes items from the list of k: every occurrence, or with Options.Duplicates the first. The list stays, maybe empty.
func (m *MappedList[K, V]) Remove(ctx context.Context, k K, items ...V) error {
	return m.Update(ctx, func(lists map[K][]V) error {
		list, ok := lists[k]
		if !ok {
			return nil
		}
		for _, v := range items {
			if !m.duplicates {
				list = slices.DeleteFunc(list, func(other V) bool { return other == v })
			} else if i := slices.Index(list, v); i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
		}
		lists[k] = list
		return nil
	})
}

// Set replaces the list of k.
func (m *MappedList[K, V]) Set(ctx context.Context, k K, items []V) error {
	items = copied(items)
	return m.Update(ctx, func(lists map[K][]V) error { lists[k] = m.tidy(copied(items)); return nil })
}

// SetAll replaces all lists, even what cannot be read.
func (m *MappedList[K, V]) SetAll(ctx context.Context, all map[K][]V) error {
	tidied := make(map[K][]V, len(all))
	for k, list := range all {
		tidied[k] = m.tidy(copied(list))
	}
	return m.change(ctx, &change[map[K][]V]{blind: true, apply: func(map[K][]V) (map[K][]V, error) { return copied(tidied), nil }})
}

// RemoveList removes the lists of keys. Those that are not there do not matter.
func (m *MappedList[K, V]) RemoveList(ctx context.Context, keys ...K) error {
	return m.Update(ctx, func(lists map[K][]V) error {
		for _, k := range keys {
			delete(lists, k)
		}
		return nil
	})
}

// Clear removes all lists, and insists on it: a mount refuses whatever else makes a config small at one blow.
func (m *MappedList[K, V]) Clear(ctx context.Context) error {
	return m.change(ctx, &change[map[K][]V]{blind: true, force: true, apply: func(map[K][]V) (map[K][]V, error) { return nil, nil }})
}

// tidy leaves the first of equal items, if there shall be one only.
func (m *MappedList[K, V]) tidy(list []V) []V {
	if m.duplicates {
		return list
	}
	seen := make(map[V]bool, len(list))
	return slices.DeleteFunc(list, func(v V) bool {
		again := seen[v]
		seen[v] = true
		return again
	})
}
