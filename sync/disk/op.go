package disk

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// op is one change of the index. A journal record is a list of them that happens as a whole; the index of a running
// store and that of a reopened one are made by the same apply.
type op interface {
	apply(x *index)
	append(b []byte) []byte
}

// The first byte of an encoded op. The values are the format: never change or reuse one.
const (
	opPut = iota + 1
	opRetitle
	opRemove
	opDrop
	opTold
	opDamage
	opMark
	opGraph
	opComplete
)

// put makes a new version current; the one before it becomes superseded.
type put struct {
	entry    Entry
	restored bool   // an older version brought back because the current one was damaged: must still be fetched again
	data     []byte // the body, while it is on its way to the disk; not encoded
}

// retitle says that the bytes of a current version have been published under another version.
type retitle struct {
	file      File
	version   registry.Version
	order     registry.Order
	author    string
	message   string
	published time.Time
}

// remove ends a file. Its versions are superseded from then on.
type remove struct {
	file  File
	stamp Stamp // of the removal
	told  Stamp // what the watchers had heard of before, where the ops that say so are gone
}

// drop forgets a superseded version.
type drop struct{ stamp Stamp }

// told says that the kernel's watchers have heard of the file up to the stamp.
type told struct {
	file  File
	stamp Stamp
}

// damage says that the current version of a file has no good body, nor has any older one.
type damage struct{ file File }

// mark carries the counters past what the other ops show, since the ops that used the numbers may be gone.
type mark struct {
	stamp Stamp  // the largest ever allotted
	id    uint64 // the next graph id
}

// complete ends a checkpoint: what follows in the journal came later.
type complete struct{}

func (o put) append(b []byte) []byte {
	e := o.entry
	b = append(b, opPut)
	b = appendFile(b, e.File)
	b = binary.AppendUvarint(b, uint64(e.Stamp))
	b = appendString(b, string(e.Version))
	b = binary.AppendVarint(b, int64(e.Order))
	b = binary.AppendUvarint(b, uint64(e.Size))
	b = append(b, e.SHA256[:]...)
	b = appendString(b, e.Author)
	b = appendString(b, e.Message)
	b = appendTime(b, e.Published)
	return appendBool(b, o.restored)
}

func (o retitle) append(b []byte) []byte {
	b = append(b, opRetitle)
	b = appendFile(b, o.file)
	b = appendString(b, string(o.version))
	b = binary.AppendVarint(b, int64(o.order))
	b = appendString(b, o.author)
	b = appendString(b, o.message)
	return appendTime(b, o.published)
}

func (o remove) append(b []byte) []byte {
	b = binary.AppendUvarint(appendFile(append(b, opRemove), o.file), uint64(o.stamp))
	return binary.AppendUvarint(b, uint64(o.told))
}

func (o drop) append(b []byte) []byte {
	return binary.AppendUvarint(append(b, opDrop), uint64(o.stamp))
}

func (o told) append(b []byte) []byte {
	return binary.AppendUvarint(appendFile(append(b, opTold), o.file), uint64(o.stamp))
}

func (o damage) append(b []byte) []byte { return appendFile(append(b, opDamage), o.file) }

func (o mark) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(b, opMark), uint64(o.stamp)), o.id)
}

func (o complete) append(b []byte) []byte { return append(b, opComplete) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFile(b []byte, f File) []byte { return appendString(append(b, byte(f.Kind)), f.Name) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendTime keeps any time, the zero one too: a publisher's clock may say anything.
func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, t.Unix()), uint64(t.Nanosecond()))
}

// decoder reads the payload of a record whose checksum was right. An error therefore means a newer writer or a bug, not decay; it
// is kept until the end of the record, and every read after it yields zero.
type decoder struct {
	b      []byte
	failed bool
	intern map[string]string // one copy of each string: names repeat with every version, authors with every file
}

// ops decodes a whole record.
func (d *decoder) ops(payload []byte) ([]op, error) {
	d.b, d.failed = payload, false
	var ops []op
	for len(d.b) > 0 {
		o := d.op()
		if d.failed {
			return nil, fmt.Errorf("journal record of %d bytes does not parse %d bytes before its end: %w",
				len(payload), len(d.b), registry.ErrInvalid)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func (d *decoder) op() op {
	switch d.byte() {
	case opPut:
		var o put
		o.entry = Entry{
			File: d.file(), Stamp: Stamp(d.uint()), Version: registry.Version(d.string()), Order: registry.Order(d.int()),
			Size: int64(d.uint()), SHA256: d.checksum(), Author: d.string(), Message: d.string(), Published: d.time(),
		}
		o.restored = d.byte() != 0
		return o
	case opRetitle:
		f := d.rawFile()
		if isCarrier(f) {
			return d.content()
		}
		d.check(f)
		return retitle{
			file: f, version: registry.Version(d.string()), order: registry.Order(d.int()),
			author: d.string(), message: d.string(), published: d.time(),
		}
	case opRemove:
		return remove{file: d.file(), stamp: Stamp(d.uint()), told: Stamp(d.uint())}
	case opDrop:
		return drop{stamp: Stamp(d.uint())}
	case opTold:
		return told{file: d.file(), stamp: Stamp(d.uint())}
	case opDamage:
		return damage{file: d.file()}
	case opMark:
		return mark{stamp: Stamp(d.uint()), id: d.uint()}
	case opGraph:
		return d.graph()
	case opComplete:
		return complete{}
	}
	d.failed = true
	return nil
}

func (d *decoder) take(n uint64) []byte {
	if d.failed || n > uint64(len(d.b)) {
		d.failed = true
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.take(uint64(max(n, 0))); n <= 0 {
		d.failed = true
		return 0
	}
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if d.take(uint64(max(n, 0))); n <= 0 {
		d.failed = true
		return 0
	}
	return v
}

func (d *decoder) string() string {
	b := d.take(d.uint())
	if s, ok := d.intern[string(b)]; ok {
		return s
	}
	s := string(b)
	d.intern[s] = s
	return s
}

func (d *decoder) file() File {
	f := d.rawFile()
	d.check(f)
	return f
}

func (d *decoder) rawFile() File { return File{Kind: registry.Kind(d.byte()), Name: d.string()} }

func (d *decoder) check(f File) {
	if f.validate() != nil {
		d.failed = true
	}
}

func (d *decoder) checksum() (sum registry.Checksum) {
	copy(sum[:], d.take(uint64(len(sum))))
	return sum
}

func (d *decoder) time() time.Time {
	seconds := d.int()
	return time.Unix(seconds, int64(d.uint())).UTC()
}
