package manageddata

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// Map is a JSON object: the old ManagedHashMap. Its methods may be called from any goroutine.
type Map[K comparable, V any] struct{ *data[map[K]V, map[K]V] }

// OpenMap follows config.manageddata.DOMAIN.KEY as a map. Keys that are no strings are written as the strings that JSON makes of
// them. The errors are of the arguments; a missing file is none.
func OpenMap[K comparable, V any](domain, key string, o Options) (*Map[K, V], error) {
	d, err := open(domain, key, o, codec[map[K]V, map[K]V]{
		parse: parseMap[K, V], load: func(m map[K]V) map[K]V { return m }, format: formatMap[K, V],
	})
	if err != nil {
		return nil, err
	}
	return &Map[K, V]{d}, nil
}

// Value is the value of k, and whether it has one.
func (m *Map[K, V]) Value(k K) (V, bool) {
	v, ok := m.file.Snapshot().Value[k]
	return v, ok
}

// View is the present version.
func (m *Map[K, V]) View() View[K, V] { return View[K, V]{m.file.Snapshot()} }

// Changes yields the present version, or the first when it comes, and then each change until ctx is done. Of versions that come
// while the loop's body is at work only the newest is sure to be seen.
func (m *Map[K, V]) Changes(ctx context.Context) iter.Seq[View[K, V]] {
	return views(ctx, m.data, func(s *follow.Snapshot[map[K]V]) View[K, V] { return View[K, V]{s} })
}

// Update changes the map by f, which is given a copy of the newest version and may run again if others were faster. If f fails, nothing
// is changed and its error is returned. The same result makes no version.
func (m *Map[K, V]) Update(ctx context.Context, f func(map[K]V) error) error {
	return m.change(ctx, &change[map[K]V]{apply: func(values map[K]V) (map[K]V, error) {
		if values == nil { // cleared just before
			values = map[K]V{}
		}
		return values, f(values)
	}})
}

// Put sets one value.
func (m *Map[K, V]) Put(ctx context.Context, k K, v V) error {
	v = copied(v)
	return m.Update(ctx, func(values map[K]V) error { values[k] = copied(v); return nil })
}

// PutAll sets several values in one version.
func (m *Map[K, V]) PutAll(ctx context.Context, values map[K]V) error {
	values = copied(values)
	return m.Update(ctx, func(now map[K]V) error { maps.Copy(now, copied(values)); return nil })
}

// Set replaces the whole map, even one that cannot be read.
func (m *Map[K, V]) Set(ctx context.Context, values map[K]V) error {
	values = copied(values)
	return m.change(ctx, &change[map[K]V]{blind: true, apply: func(map[K]V) (map[K]V, error) { return copied(values), nil }})
}

// Remove removes keys. Those that are not there do not matter.
func (m *Map[K, V]) Remove(ctx context.Context, keys ...K) error {
	return m.Update(ctx, func(values map[K]V) error {
		for _, k := range keys {
			delete(values, k)
		}
		return nil
	})
}

// Clear removes all keys, and insists on it: a mount refuses whatever else makes a config small at one blow.
func (m *Map[K, V]) Clear(ctx context.Context) error {
	return m.change(ctx, &change[map[K]V]{blind: true, force: true, apply: func(map[K]V) (map[K]V, error) { return nil, nil }})
}

// View is one version of a Map. It never changes; what its values refer to must not be changed either.
type View[K comparable, V any] struct{ snapshot *follow.Snapshot[map[K]V] }

// Value is the value of k in this version.
func (v View[K, V]) Value(k K) (V, bool) {
	value, ok := v.snapshot.Value[k]
	return value, ok
}

// All are the keys and values, in no order.
func (v View[K, V]) All() iter.Seq2[K, V] { return maps.All(v.snapshot.Value) }

// Len is the number of keys.
func (v View[K, V]) Len() int { return len(v.snapshot.Value) }

// Version is KingPin's version; of a plain file the beginning of its checksum. It is empty before the first good one.
func (v View[K, V]) Version() string { return v.snapshot.Version }

func parseObject(body []byte) (map[string]any, error) {
	if empty(body) {
		return nil, nil
	}
	value, err := registry.ParseJSON(body)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no JSON object: %w", registry.ErrInvalid)
	}
	return object, nil
}

func parseMap[K comparable, V any](body []byte) (map[K]V, error) {
	object, err := parseObject(body)
	if err != nil || object == nil {
		return map[K]V{}, err
	}
	return decode[map[K]V](object)
}

func formatMap[K comparable, V any](m map[K]V, old []byte) ([]byte, error) {
	if !forgetful(reflect.TypeFor[V]()) {
		return registry.FormatJSON(m)
	}
	object, err := parseObject(old)
	if err != nil {
		return registry.FormatJSON(m)
	}
	whole := make(map[K]any, len(m))
	for k, v := range m {
		whole[k] = v
	}
	for text, raw := range object {
		before, err := decode[map[K]V](map[string]any{text: raw})
		if err != nil {
			continue
		}
		for k, v := range before {
			if now, ok := m[k]; ok {
				o := original{}
				o.add(v, raw)
				whole[k] = o.of(now)
			}
		}
	}
	return registry.FormatJSON(whole)
}
