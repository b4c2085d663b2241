package embedded

import (
	"bytes"
	"errors"
	"iter"

	"github.com/kingpinfs/kingpin/registry"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// view is one transaction's picture of the file.
type view struct {
	tx   *bolt.Tx
	path string
}

// view calls f with the present picture. It does not wait for writers, and f must not.
func (r *Registry) view(f func(*view) error) error {
	r.mu.Lock()
	closed, stuck, cause := r.closed, r.stuck, r.writing
	r.mu.Unlock()
	if closed {
		return r.errorf("%w", ErrClosed)
	}
	if stuck {
		return cause // bbolt would wait for ever for a lock that a panic left behind
	}
	var tx *bolt.Tx
	err := guard(r.path, func() (err error) {
		tx, err = r.db.Begin(false)
		return err
	})
	if err != nil {
		return r.beginError(err)
	}
	defer tx.Rollback()
	defer r.trim()
	return guard(r.path, func() error { return f(&view{tx: tx, path: r.path}) })
}

// beginError of bbolt's Begin: after a panic inside, its locks are lost.
func (r *Registry) beginError(err error) error {
	switch {
	case errors.Is(err, ErrDamaged):
		r.giveUp(err, true)
		return err
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return r.errorf("%w", ErrClosed)
	}
	return r.errorf("cannot be read: %w", err)
}

// value is what is stored under a key; nil if nothing is.
func (v *view) value(bucket, key []byte) ([]byte, error) {
	sealed := v.tx.Bucket(bucket).Get(key)
	if sealed == nil {
		return nil, nil
	}
	value, err := unseal(key, sealed)
	if err != nil {
		return nil, damaged(v.path, err)
	}
	return value, nil
}

// keys are those of a bucket that start with prefix, without it, in the order of their bytes.
func (v *view) keys(bucket, prefix []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		c := v.tx.Bucket(bucket).Cursor()
		for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if !yield(string(k[len(prefix):])) {
				return
			}
		}
	}
}

// node is what the file holds of a pointer; ok is false if there is none.
func (v *view) node(p registry.Pointer) (n node, ok bool, err error) {
	value, err := v.value(nodesBucket, []byte(p))
	if value == nil || err != nil {
		return node{}, false, err
	}
	if n, err = decodeNode(value); err != nil {
		return node{}, false, damaged(v.path, err)
	}
	return n, true, nil
}
