package manageddata

import (
	"context"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// JSON is any JSON as a T: the old ManagedJsonSerializableDataConfig. What Python calls false (null, false, zero, "", [], {}) is kept
// as an empty file, as the old class does. Its methods may be called from any goroutine.
type JSON[T any] struct{ *data[T, T] }

// OpenJSON follows config.manageddata.DOMAIN.KEY as a T. Into a T of any, numbers come as json.Number. Fields that a struct does not have are
// lost when it is changed. The errors are of the arguments; a missing file is none.
func OpenJSON[T any](domain, key string, o Options) (*JSON[T], error) {
	d, err := open(domain, key, o, codec[T, T]{parse: parseJSON[T], load: func(t T) T { return t }, format: formatJSON[T]})
	if err != nil {
		return nil, err
	}
	return &JSON[T]{d}, nil
}

// Value is the last good value, which must not be changed; ok is false if there was none yet.
func (j *JSON[T]) Value() (value T, ok bool) { return j.file.Load() }

// View is the present version.
func (j *JSON[T]) View() JSONView[T] { return JSONView[T]{j.file.Snapshot()} }

// Changes yields the present version, or the first when it comes, and then each change until ctx is done. Of versions that come
// while the loop's body is at work only the newest is sure to be seen.
func (j *JSON[T]) Changes(ctx context.Context) iter.Seq[JSONView[T]] {
	return views(ctx, j.data, func(s *follow.Snapshot[T]) JSONView[T] { return JSONView[T]{s} })
}

// Update changes the value by f, which is given a copy of the newest version and may run again if others were faster. If f fails, nothing
// is changed and its error is returned. The same result makes no version.
func (j *JSON[T]) Update(ctx context.Context, f func(*T) error) error {
	return j.change(ctx, &change[T]{apply: func(value T) (T, error) {
		err := f(&value)
		return value, err
	}})
}

// Set replaces the value, even one that cannot be read.
func (j *JSON[T]) Set(ctx context.Context, value T) error {
	value = copied(value)
	return j.change(ctx, &change[T]{blind: true, apply: func(T) (T, error) { return copied(value), nil }})
}

// Clear makes the file empty, and insists on it.
func (j *JSON[T]) Clear(ctx context.Context) error {
	return j.change(ctx, &change[T]{blind: true, force: true, apply: func(T) (none T, err error) { return none, nil }})
}

// JSONView is one version of JSON. What its value refers to must not be changed.
type JSONView[T any] struct{ snapshot *follow.Snapshot[T] }

// Value is the value of this version.
func (v JSONView[T]) Value() T { return v.snapshot.Value }

// Version is KingPin's version; of a plain file the beginning of its checksum. It is empty before the first good one.
func (v JSONView[T]) Version() string { return v.snapshot.Version }

func parseJSON[T any](body []byte) (value T, err error) {
	if empty(body) {
		return value, nil
	}
	parsed, err := registry.ParseJSON(body)
	if err != nil {
		return value, err
	}
	return decode[T](parsed)
}

// nothing is what the old class stores as an empty file.
var nothing = []string{"null", "false", "0", "0.0", "-0.0", `""`, "[]", "{}"}

func formatJSON[T any](value T, _ []byte) ([]byte, error) {
	body, err := registry.FormatJSON(value)
	if slices.Contains(nothing, string(body)) {
		body = []byte{}
	}
	return body, err
}
