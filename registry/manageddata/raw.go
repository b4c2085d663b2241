package manageddata

import (
	"context"
	"iter"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// Raw is the content itself, whatever it is: the old ManagedJsonConfig. Its methods may be called from any goroutine.
type Raw struct{ *data[[]byte, string] }

// OpenRaw follows config.manageddata.DOMAIN.KEY as it is. The errors are of the arguments; a missing file is none.
func OpenRaw(domain, key string, o Options) (*Raw, error) {
	d, err := open(domain, key, o, codec[[]byte, string]{
		parse:  func(body []byte) ([]byte, error) { return append([]byte{}, body...), nil },
		load:   func(body []byte) string { return string(body) },
		format: func(body, _ []byte) ([]byte, error) { return append([]byte{}, body...), nil },
	})
	if err != nil {
		return nil, err
	}
	return &Raw{d}, nil
}

// Value is the last good content; ok is false if there was none yet.
func (r *Raw) Value() (content string, ok bool) { return r.file.Load() }

// View is the present version.
func (r *Raw) View() JSONView[string] { return JSONView[string]{r.file.Snapshot()} }

// Changes yields the present version, or the first when it comes, and then each change until ctx is done. Of versions that come
// while the loop's body is at work only the newest is sure to be seen.
func (r *Raw) Changes(ctx context.Context) iter.Seq[JSONView[string]] {
	return views(ctx, r.data, func(s *follow.Snapshot[string]) JSONView[string] { return JSONView[string]{s} })
}

// Update replaces the content by what f makes of the newest version. f may run again if others were faster. If it fails, nothing is
// changed and its error is returned. The same result makes no version.
func (r *Raw) Update(ctx context.Context, f func([]byte) ([]byte, error)) error {
	return r.change(ctx, &change[[]byte]{apply: f})
}

// Set replaces the content.
func (r *Raw) Set(ctx context.Context, content string) error {
	return r.change(ctx, &change[[]byte]{blind: true, apply: func([]byte) ([]byte, error) { return []byte(content), nil }})
}

// Clear makes the file empty, and insists on it.
func (r *Raw) Clear(ctx context.Context) error {
	return r.change(ctx, &change[[]byte]{blind: true, force: true, apply: func([]byte) ([]byte, error) { return nil, nil }})
}
