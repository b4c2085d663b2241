package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/kingpinfs/kingpin/registry"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends to a value the CRC-32C of its key and itself: bbolt checks its two meta pages and nothing else.
func seal(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(value[:len(value):len(value)], sum)
}

// unseal is the value that was sealed. It lies in bbolt's memory map: valid during the transaction, never to be changed.
func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 {
		return nil, fmt.Errorf("the value of %q is missing", key)
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, sealed[:n])
	if binary.BigEndian.Uint32(sealed[n:]) != sum {
		return nil, fmt.Errorf("the value of %q is not what was written", key)
	}
	return sealed[:n], nil
}

// node is what the file holds of a pointer.
type node struct {
	created registry.Order
	order   registry.Order
	version registry.Version
}

func (n node) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(n.created))
	b = binary.BigEndian.AppendUint64(b, uint64(n.order))
	return append(b, n.version...)
}

func decodeNode(b []byte) (node, error) {
	if len(b) < 16 {
		return node{}, errors.New("a node of less than 16 bytes")
	}
	return node{
		created: registry.Order(binary.BigEndian.Uint64(b)),
		order:   registry.Order(binary.BigEndian.Uint64(b[8:])),
		version: registry.Version(b[16:]),
	}, nil
}

func (n node) state() registry.State {
	return registry.State{Exists: true, Version: n.version, Order: n.order}
}

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
