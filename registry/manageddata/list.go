package manageddata

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// List is a JSON list in its own order: the old ManagedList. Its methods may be called from any goroutine.
type List[T comparable] struct{ *data[[]T, items[T]] }

// items are a list and where to find them. Items that cannot be compared, maps in a List[any], are not in the index.
type items[T comparable] struct {
	all   []T
	index map[T]struct{}
}

// OpenList follows config.manageddata.DOMAIN.KEY as a list. The errors are of the arguments; a missing file is none.
func OpenList[T comparable](domain, key string, o Options) (*List[T], error) {
	d, err := open(domain, key, o, codec[[]T, items[T]]{parse: parseList[T], load: indexed[T], format: formatList[T]})
	if err != nil {
		return nil, err
	}
	return &List[T]{d}, nil
}

func indexed[T comparable](all []T) items[T] {
	index := make(map[T]struct{}, len(all))
	for _, v := range all {
		if hashable(v) {
			index[v] = struct{}{}
		}
	}
	return items[T]{all, index}
}

// hashable says whether v may be a key of a map: an interface may hold what cannot be compared.
func hashable[T comparable](v T) bool {
	switch any(v).(type) {
	case string, int, int64, float64, bool:
		return true
	}
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Comparable()
}

func equal[T comparable](a, b T) bool { return reflect.DeepEqual(a, b) }

// Contains says whether v is in the list. It takes the same time for lists of any length.
func (l *List[T]) Contains(v T) bool { return l.View().Contains(v) }

// Len is the number of items.
func (l *List[T]) Len() int { return len(l.file.Snapshot().Value.all) }

// Values is a copy of the items in their order.
func (l *List[T]) Values() []T { return slices.Clone(l.file.Snapshot().Value.all) }

// Shuffled is a copy of the items in an order of its own at each call.
func (l *List[T]) Shuffled() []T {
	values := l.Values()
	rand.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	return values
}

// View is the present version.
func (l *List[T]) View() ListView[T] { return ListView[T]{l.file.Snapshot()} }

// Changes yields the present version, or the first when it comes, and then each change until ctx is done. Of versions that come
// while the loop's body is at work only the newest is sure to be seen.
func (l *List[T]) Changes(ctx context.Context) iter.Seq[ListView[T]] {
	return views(ctx, l.data, func(s *follow.Snapshot[items[T]]) ListView[T] { return ListView[T]{s} })
}

// Update replaces the list by what f makes of a copy of the newest version. f may run again if others were faster. If it fails, nothing is
// changed and its error is returned. The same result makes no version.
func (l *List[T]) Update(ctx context.Context, f func([]T) ([]T, error)) error {
	return l.change(ctx, &change[[]T]{apply: f})
}

// Add appends the items that are not in the list yet, each once, and says how many there were.
func (l *List[T]) Add(ctx context.Context, values ...T) (added int, err error) {
	values = copied(values)
	count := 0
	err = l.Update(ctx, func(now []T) ([]T, error) {
		count = 0
		there := indexed(now)
		for _, v := range copied(values) {
			if !there.contains(v) {
				there.all = append(there.all, v)
				if hashable(v) {
					there.index[v] = struct{}{}
				}
				count++
			}
		}
		return there.all, nil
	})
	if err != nil {
		return 0, err
	}
	return count, nil
}

// Remove removes every occurrence of the items, and says how many there were.
func (l *List[T]) Remove(ctx context.Context, values ...T) (removed int, err error) {
	gone := indexed(slices.Clone(values))
	count := 0
	err = l.Update(ctx, func(now []T) ([]T, error) {
		left := slices.DeleteFunc(slices.Clone(now), gone.contains)
		count = len(now) - len(left)
		return left, nil
	})
	if err != nil {
		return 0, err
	}
	return count, nil
}

// Set replaces the whole list, even one that cannot be read.
func (l *List[T]) Set(ctx context.Context, values []T) error {
	values = copied(values)
	return l.change(ctx, &change[[]T]{blind: true, apply: func([]T) ([]T, error) { return copied(values), nil }})
}

// Clear removes all items, and insists on it: a mount refuses whatever else makes a config small at one blow.
func (l *List[T]) Clear(ctx context.Context) error {
	return l.change(ctx, &change[[]T]{blind: true, force: true, apply: func([]T) ([]T, error) { return nil, nil }})
}

// ListView is one version of a List. It never changes; what its items refer to must not be changed either.
type ListView[T comparable] struct{ snapshot *follow.Snapshot[items[T]] }

// Contains says whether v is in this version.
func (v ListView[T]) Contains(item T) bool { return v.snapshot.Value.contains(item) }

// All are the items with their places.
func (v ListView[T]) All() iter.Seq2[int, T] { return slices.All(v.snapshot.Value.all) }

// Len is the number of items.
func (v ListView[T]) Len() int { return len(v.snapshot.Value.all) }

// Version is KingPin's version; of a plain file the beginning of its checksum. It is empty before the first good one.
func (v ListView[T]) Version() string { return v.snapshot.Version }

func (s items[T]) contains(v T) bool {
	if hashable(v) {
		_, ok := s.index[v]
		return ok
	}
	return slices.ContainsFunc(s.all, func(other T) bool { return equal(v, other) })
}

func parseItems(body []byte) ([]any, error) {
	if empty(body) {
		return nil, nil
	}
	value, err := registry.ParseJSON(body)
	if err != nil {
		return nil, err
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("no JSON list: %w", registry.ErrInvalid)
	}
	return list, nil
}

func parseList[T comparable](body []byte) ([]T, error) {
	list, err := parseItems(body)
	if err != nil || list == nil {
		return nil, err
	}
	return decode[[]T](list)
}

func formatList[T comparable](list []T, old []byte) ([]byte, error) {
	if !forgetful(reflect.TypeFor[T]()) {
		return registry.FormatJSON(list)
	}
	before := original{}
	if raw, err := parseItems(old); err == nil {
		for _, item := range raw {
			if typed, err := decode[T](item); err == nil {
				before.add(typed, item)
			}
		}
	}
	whole := make([]any, len(list))
	for i, v := range list {
		whole[i] = before.of(v)
	}
	return registry.FormatJSON(whole)
}
