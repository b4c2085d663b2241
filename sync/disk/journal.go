package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// A record in the journal is: magic, length of the payload, checksum of length and payload, payload. The numbers are
// 4 bytes, little endian. The magic is where reading goes on after damage.
const (
	recordMagic  = "KPj\x01"
	recordHeader = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the append-only file that says what the store holds. A record is whole or it is not there.
type journal struct {
	file *os.File
	size int64 // of the records that count
	base int64 // size when it was written anew
	sick error // the file may not be what we think: it has to be written anew before anything is appended
}

// appendRecord frames a payload.
func appendRecord(b, payload []byte) []byte {
	start := len(b)
	b = append(b, recordMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(b[start+4:start+8], castagnoli), castagnoli, payload)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, payload...)
}

// record returns the payload at the beginning of b and the length of the whole record; ok is false where there is no whole one.
func record(b []byte) (payload []byte, length int, ok bool) {
	if len(b) < recordHeader || string(b[:4]) != recordMagic {
		return nil, 0, false
	}
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	if n > uint64(len(b)-recordHeader) {
		return nil, 0, false
	}
	payload = b[recordHeader : recordHeader+n]
	sum := crc32.Update(crc32.Checksum(b[4:8], castagnoli), castagnoli, payload)
	return payload, recordHeader + int(n), sum == binary.LittleEndian.Uint32(b[8:])
}

// replay is what reading a journal found.
type replay struct {
	end     int64 // of the last whole record
	damaged int64 // bytes in the middle that are no record
	torn    int64 // bytes after the end: a write that a crash cut short
}

// readJournal calls each with every whole record and its end, in order. Its error is that of reading, or of each.
func readJournal(file *os.File, each func(payload []byte, end int64) error) (r replay, err error) {
	info, err := file.Stat()
	if err != nil {
		return r, fmt.Errorf("read journal: %w", err)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(file, b); err != nil {
		return r, fmt.Errorf("read journal: %w", err)
	}
	var gap int64
	for at := 0; at < len(b); {
		payload, length, ok := record(b[at:])
		if !ok {
			skip := bytes.Index(b[at+1:], []byte(recordMagic))
			if skip < 0 {
				skip = len(b) - at - 1
			}
			at += skip + 1
			gap += int64(skip + 1)
			continue
		}
		if err := each(payload, int64(at+length)); err != nil {
			return r, fmt.Errorf("journal at byte %d: %w", at, err)
		}
		r.damaged, gap = r.damaged+gap, 0
		at += length
		r.end = int64(at)
	}
	r.torn = gap
	return r, nil
}

// append adds ops as one record, and calls written then. With durable it returns when they are on the disk. After an error
// they are not in the journal.
func (j *journal) append(ops []op, durable bool, written func()) error {
	if j.sick != nil {
		return j.sick
	}
	var payload []byte
	for _, o := range ops {
		payload = o.append(payload)
	}
	record := appendRecord(nil, payload)
	_, err := j.file.WriteAt(record, j.size)
	if err != nil {
		err = fmt.Errorf("write journal: %w", err)
	} else if written(); durable {
		if err = j.file.Sync(); err != nil {
			// What the kernel did with the pages is unknown now, and a second fsync would not tell.
			err = fmt.Errorf("sync journal: %w", err)
			j.sick = err
		}
	}
	if err == nil {
		j.size += int64(len(record))
		return nil
	}
	if cut := j.file.Truncate(j.size); cut != nil {
		j.sick = errors.Join(err, cut)
	}
	return err
}
