package embedded

import (
	"bytes"
	"context"
	"fmt"

	"github.com/kingpinfs/kingpin/registry"
)

// List is the last bodies, at most so many, whose keys are prefix, a digit and anything, in descending order of the keys. Of the
// versions of one name those are the newest.
func (r *Registry) List(ctx context.Context, prefix string, most int) ([]registry.Stored, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var list []registry.Stored
	err := r.view(func(v *view) error {
		c := v.tx.Bucket(bodiesBucket).Cursor()
		key, _ := c.Seek([]byte(prefix + ":")) // what follows 9
		if key == nil {
			key, _ = c.Last()
		} else {
			key, _ = c.Prev()
		}
		for ; bytes.Compare(key, []byte(prefix+"0")) >= 0 && len(list) < most; key, _ = c.Prev() {
			h, ok, err := v.header(string(key))
			if err != nil {
				return err
			}
			if ok {
				list = append(list, registry.Stored{Key: string(key), Size: int64(h.size), Meta: h.meta})
			}
		}
		return nil
	})
	return list, err
}

// Stat is what is stored under key, without the bytes. ErrNotExist.
func (r *Registry) Stat(ctx context.Context, key string) (s registry.Stored, err error) {
	if err := ctx.Err(); err != nil {
		return s, err
	}
	if err := checkKey(key); err != nil {
		return s, err
	}
	err = r.view(func(v *view) error {
		h, ok, err := v.header(key)
		if err == nil && !ok {
			err = fmt.Errorf("stat %s: %w", key, registry.ErrNotExist)
		}
		s = registry.Stored{Key: key, Size: int64(h.size), Meta: h.meta}
		return err
	})
	return s, err
}
