package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// chunk is how a body is cut. bbolt writes a page of keys again, with all their values, for each change of one of them: whole
// bodies of 16 MiB would be written again with their neighbours. Chunks are only ever added behind the last one.
const chunk = 32 << 10

// header is what the file holds of a body, beside its bytes.
type header struct {
	number uint64            // of its chunks
	size   uint64            // of its bytes
	sum    registry.Checksum // of its bytes as they were put, whatever the meta claims
	meta   registry.Meta
}

// Put stores a body for ever. The same bytes again are fine, and the first Meta stays; other bytes are ErrExist. It is durable
// on return.
func (r *Registry) Put(ctx context.Context, key string, b registry.Body) error {
	if err := checkKey(key); err != nil {
		return err
	}
	h := header{size: uint64(len(b.Data)), sum: registry.Sum(b.Data), meta: b.Meta}
	return r.commit(ctx, "", len(b.Data), func(u *update) error {
		old, ok, err := u.header(key)
		switch {
		case err != nil:
			return err
		case ok && old.sum != h.sum:
			return fmt.Errorf("put %s: other bytes are stored there: %w", key, registry.ErrExist)
		case ok:
			if _, err := u.body(key, old); err == nil {
				return nil
			}
			h.meta = old.meta // the bytes have rotted and these are the good ones
		}
		h.number = u.number()
		value, err := h.encode()
		if err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
		u.put(bodiesBucket, []byte(key), value)
		u.tx.Bucket(dataBucket).FillPercent = 1 // nothing is ever put between: half-empty pages would stay so
		for i, data := uint32(0), b.Data; len(data) > 0; i++ {
			n := min(chunk, len(data))
			u.put(dataBucket, chunkKey(h.number, i), data[:n])
			data = data[n:]
		}
		return nil
	})
}

// Fetch returns the body stored under key. ErrNotExist if there is none; ErrChecksum if its bytes are not those that were put,
// or not those that its Meta tells of.
func (r *Registry) Fetch(ctx context.Context, key string) (registry.Body, error) {
	if err := ctx.Err(); err != nil {
		return registry.Body{}, err
	}
	if err := checkKey(key); err != nil {
		return registry.Body{}, err
	}
	var b registry.Body
	err := r.view(func(v *view) error {
		h, ok, err := v.header(key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("fetch %s: %w", key, registry.ErrNotExist)
		}
		b.Meta = h.meta
		b.Data, err = v.body(key, h)
		return err
	})
	if err != nil {
		return registry.Body{}, err
	}
	if want := b.Meta.SHA256; want != (registry.Checksum{}) && registry.Sum(b.Data) != want {
		return registry.Body{}, fmt.Errorf("fetch %s: %w", key, registry.ErrChecksum)
	}
	return b, nil
}

// PutIndex has nothing to store: an index repeats the version for readers that cannot reach the pointer, and here whoever can
// read the one can read the other.
func (r *Registry) PutIndex(ctx context.Context, key string, v registry.Version) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := registry.ParseVersion(string(v)); err != nil {
		return err
	}
	return checkKey(key)
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("key %.80q of %d bytes, from 1 to %d: %w", key, len(key), maxKey, registry.ErrInvalid)
	}
	return nil
}

func chunkKey(number uint64, i uint32) []byte {
	return binary.BigEndian.AppendUint32(uint64Bytes(number), i)
}

func (v *view) header(key string) (h header, ok bool, err error) {
	value, err := v.value(bodiesBucket, []byte(key))
	if value == nil || err != nil {
		return header{}, false, err
	}
	if h, err = decodeHeader(value); err != nil {
		return header{}, false, damaged(v.path, err)
	}
	return h, true, nil
}

// body joins the chunks. The sums of the chunks prove the bytes, since a header tells which chunks are its own.
func (v *view) body(key string, h header) ([]byte, error) {
	if h.size > uint64(v.tx.Size()) {
		return nil, damaged(v.path, "a body larger than the file")
	}
	data := make([]byte, 0, h.size)
	for i := uint32(0); uint64(len(data)) < h.size; i++ {
		k := chunkKey(h.number, i)
		part, err := unseal(k, v.tx.Bucket(dataBucket).Get(k))
		if err != nil || len(part) == 0 {
			return nil, fmt.Errorf("fetch %s: %w: %w", key, registry.ErrChecksum, damaged(v.path, err))
		}
		data = append(data, part...)
	}
	return data, nil
}

// number is that of a new body.
func (u *update) number() uint64 {
	u.changed = true
	n, err := u.tx.Bucket(bodiesBucket).NextSequence()
	if err != nil && u.err == nil {
		u.err = err
	}
	return n
}

func (h header) encode() ([]byte, error) {
	published, err := h.meta.Published.UTC().MarshalBinary()
	if err != nil {
		return nil, errors.Join(registry.ErrInvalid, err)
	}
	b := uint64Bytes(h.number)
	b = binary.BigEndian.AppendUint64(b, h.size)
	b = append(b, h.sum[:]...)
	b = append(b, h.meta.SHA256[:]...)
	words := []string{string(published), h.meta.Author, h.meta.Message}
	if h.meta.Replaces != "" { // a header without it is one that older programs wrote
		words = append(words, string(h.meta.Replaces))
	}
	for _, s := range words {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b, nil
}

func decodeHeader(b []byte) (h header, err error) {
	fixed := 8 + 8 + 2*len(h.sum)
	if len(b) < fixed {
		return header{}, errors.New("a body's header is too short")
	}
	h.number = binary.BigEndian.Uint64(b)
	h.size = binary.BigEndian.Uint64(b[8:])
	copy(h.sum[:], b[16:])
	copy(h.meta.SHA256[:], b[16+len(h.sum):])
	rest := b[fixed:]
	var words [4]string
	for i := range words {
		if i == 3 && len(rest) == 0 {
			break // it is said since a later version
		}
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return header{}, errors.New("a body's header is too short")
		}
		words[i], rest = string(rest[used:used+int(n)]), rest[used+int(n):]
	}
	var published time.Time
	if err := published.UnmarshalBinary([]byte(words[0])); err != nil {
		return header{}, err
	}
	h.meta.Published, h.meta.Author, h.meta.Message = published.UTC(), words[1], words[2]
	h.meta.Replaces = registry.Version(words[3])
	return h, nil
}
