package embedded

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/kingpinfs/kingpin/registry"
)

// damaged says what to do about a file that cannot be read, or a part of it.
func damaged(path string, cause any) error {
	return fmt.Errorf("registry file %s %w (%v): restore it from a copy, or move it away to start an empty registry; "+
		"the files that were already published on this machine stay readable", path, ErrDamaged, cause)
}

// guard turns what bbolt does on damaged pages, a panic or a fault in its memory map, into an error that wraps ErrDamaged.
func guard(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, p)
		}
	}()
	return f()
}

// check reads everything but the bodies once: a damaged file is better refused at the start than found out one name at a
// time. Bodies are checked when they are fetched.
func (r *Registry) check() error {
	return r.view(func(v *view) error {
		info, err := r.file.Stat()
		if err != nil {
			return fileError(r.path, err)
		}
		if v.tx.Size() > info.Size() {
			return damaged(r.path, fmt.Sprintf("%d bytes are left of %d", info.Size(), v.tx.Size()))
		}
		if v.tx.Bucket(aboutBucket) == nil {
			return damaged(r.path, "a bbolt file, but not a registry")
		}
		found, err := v.value(aboutBucket, formatKey)
		if err != nil {
			return err
		}
		if string(found) != format {
			return fmt.Errorf("registry file %s has format %s, and this program knows only %s: use a newer one: %w",
				r.path, found, format, registry.ErrInvalid)
		}
		for _, bucket := range buckets {
			if v.tx.Bucket(bucket) == nil {
				return damaged(r.path, fmt.Sprintf("no %s are left", bucket))
			}
		}
		r.ceiling = registry.Order(v.tx.Bucket(nodesBucket).Sequence())
		r.next, r.opened = r.ceiling+1, r.ceiling
		for _, bucket := range [][]byte{nodesBucket, dependenciesBucket, edgesBucket} {
			if err := v.sound(bucket); err != nil {
				return err
			}
		}
		return nil
	})
}

// sound reads a bucket from end to end, and looks each key up as if it were asked for: damage to a page of branches shows only
// that way, as a name that seems not to exist.
func (v *view) sound(bucket []byte) error {
	b := v.tx.Bucket(bucket)
	var last []byte
	c := b.Cursor()
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if last != nil && bytes.Compare(last, key) >= 0 {
			return damaged(v.path, fmt.Sprintf("%s out of order at %q", bucket, key))
		}
		last = key
		if _, err := unseal(key, value); err != nil {
			return damaged(v.path, err)
		}
		if b.Get(key) == nil {
			return damaged(v.path, fmt.Sprintf("%q of %s cannot be found", key, bucket))
		}
	}
	return nil
}
