package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// A small body travels in the journal, behind its put: so a commit waits for the disk once. Its file is written as ever and made
// durable later, at the latest before the journal is written anew without the bytes; what a power cut made of it before that, Open
// mends from the journal.
const (
	// smallBody is the size up to which a body is carried by the journal, in bytes.
	smallBody = 16 << 10
	// smallBatch bounds the bodies of one record together, in bytes: what a first boot has waiting at once. Who has more waits for a
	// syncfs, and so for whatever others have written to the same file system.
	smallBatch = 256 << 10
	// maxCarried is how many bodies the journal carries before it is written anew: Open looks at each.
	maxCarried = 2048
	// maxCarriedBytes bounds them in bytes: Open reads the journal as a whole.
	maxCarriedBytes = 1 << 20
	// syncDelay is how long a body may be durable in the journal only. Sooner would be in the way of the commits of a first boot.
	syncDelay = time.Second
	// fewFiles is how many files are synced one by one where nobody waits for it. A syncfs writes out what everybody has left on the same
	// file system, for seconds on a busy one, and commits wait for that: it is for a first boot.
	fewFiles = 256
	// fewAtEnd is how many are synced when the next process waits for the directory.
	fewAtEnd = 16
)

// content is the bytes of the body with a stamp. It changes nothing in the index.
type content struct {
	stamp Stamp
	data  []byte
}

// carrier is a file that can never be: a program that does not know content reads it as a retitle of a file that it does not
// have, and goes on.
const carrier = "body"

func isCarrier(f File) bool { return f.Kind == registry.Serverset && f.Name == carrier }

func (o content) append(b []byte) []byte {
	b = appendFile(append(b, opRetitle), File{registry.Serverset, carrier})
	b = append(binary.AppendUvarint(b, uint64(len(o.data))), o.data...) // where the version would be
	b = binary.AppendVarint(b, int64(o.stamp))                          // the order
	b = appendString(appendString(b, ""), "")
	return appendTime(b, time.Unix(0, 0))
}

func (o content) apply(x *index) {}

// content reads what follows the carrier. The bytes are those of the record.
func (d *decoder) content() content {
	o := content{data: d.take(d.uint()), stamp: Stamp(d.int())}
	_, _, _ = d.string(), d.string(), d.time()
	return o
}

// carried is the bodies of a batch that travel in the journal.
func carried(ops []op) (contents []content) {
	size := 0
	for _, o := range ops {
		if o, ok := o.(put); ok && len(o.data) <= smallBody {
			contents = append(contents, content{o.entry.Stamp, o.data})
			size += len(o.data)
		}
	}
	if size > smallBatch {
		return nil
	}
	return contents
}

// withContents is what the journal is told of a batch.
func withContents(ops []op, contents []content) []op {
	ops = slices.Clip(ops)
	for _, c := range contents {
		ops = append(ops, c)
	}
	return ops
}

// unsynced is the bodies that the journal makes durable, and nothing else yet. Store.writing guards it.
type unsynced struct {
	stamps   map[Stamp]struct{}
	due      time.Time // when to do something about them
	count    int       // carried since the journal was written anew
	bytes    int64     // of those
	doubtful bool      // the disk has refused to make one durable: the files are not to be trusted, whatever it says next
}

// add notes a body whose file is to be made durable after a delay.
func (u *unsynced) add(stamp Stamp, size int64, delay time.Duration) {
	if len(u.stamps) == 0 {
		u.stamps = map[Stamp]struct{}{}
		u.due = time.Now().Add(delay)
	}
	u.stamps[stamp] = struct{}{}
	u.count++
	u.bytes += size
}

// carry notes that a batch has happened.
func (s *Store) carry(contents []content) {
	first := len(s.unsynced.stamps) == 0
	for _, c := range contents {
		s.unsynced.add(c.stamp, int64(len(c.data)), s.delay)
	}
	if first && len(contents) > 0 {
		s.wakeUpkeep()
	}
}

// settleBodies makes the files durable that so far only the journal does. No commit waits for it.
func (s *Store) settleBodies() {
	s.writing.Lock()
	stamps := slices.Collect(maps.Keys(s.unsynced.stamps))
	doubtful := s.unsynced.doubtful
	s.writing.Unlock()
	s.settle()
	if len(stamps) == 0 || doubtful || len(stamps) > fewAtEnd && s.ending() {
		return // what is doubtful waits for the next checkpoint, which does not go without it
	}
	err := s.syncStamps(stamps)
	s.writing.Lock()
	defer s.settle()
	defer s.writing.Unlock()
	if err != nil {
		s.unsynced.doubtful = true
		s.log.Warn("bodies not made durable, the journal keeps them", "count", len(stamps), "err", err)
		return
	}
	for _, stamp := range stamps {
		delete(s.unsynced.stamps, stamp)
	}
}

// syncBodies is settleBodies for a journal that is about to be written anew. The caller holds writing.
func (s *Store) syncBodies() error {
	if len(s.unsynced.stamps) == 0 {
		return nil
	}
	var err error
	if s.unsynced.doubtful {
		err = s.rewriteBodies()
	} else {
		err = s.syncStamps(slices.Collect(maps.Keys(s.unsynced.stamps)))
	}
	if err != nil {
		s.unsynced.doubtful = true
		return fmt.Errorf("sync bodies: %w", err)
	}
	clear(s.unsynced.stamps)
	s.unsynced.doubtful = false
	return nil
}

// ending says whether the next process is waiting for the directory. It finds in the journal what is not synced.
func (s *Store) ending() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *Store) syncStamps(stamps []Stamp) error {
	if len(stamps) > fewFiles {
		return unix.Syncfs(int(s.bodies.Fd()))
	}
	for _, stamp := range stamps {
		err := syncPath(s.dir.body(stamp))
		if errors.Is(err, fs.ErrNotExist) && !s.needed(stamp) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return s.bodies.Sync()
}

// needed says whether there is a version with the stamp that should have a body.
func (s *Store) needed(stamp Stamp) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.index.versions[stamp]
	return v != nil && !v.lost
}

// rewriteBodies puts new files in the place of bodies that the disk may not have taken, with the bytes that the journal carries. The
// caller holds writing.
func (s *Store) rewriteBodies() error {
	if _, err := s.journal.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var failed error
	d := &decoder{intern: map[string]string{}}
	_, err := readJournal(s.journal.file, func(payload []byte, _ int64) error {
		ops, err := d.ops(payload)
		for _, o := range ops {
			if c, ok := o.(content); ok {
				failed = errors.Join(failed, s.rewriteBody(c))
			}
		}
		return err
	})
	return errors.Join(err, failed, s.bodies.Sync())
}

func (s *Store) rewriteBody(c content) error {
	if _, ok := s.unsynced.stamps[c.stamp]; !ok || !s.needed(c.stamp) {
		return nil
	}
	staged := s.dir.staged(c.stamp)
	if err := writeBody(staged, c.stamp, c.data, true); err != nil {
		return err
	}
	if err := os.Rename(staged, s.dir.body(c.stamp)); err != nil {
		return err
	}
	s.mu.RLock()
	v := s.index.versions[c.stamp]
	current := s.index.current(v.entry.File) == v
	s.mu.RUnlock()
	if current {
		s.restage(v.entry.File)
	}
	return nil
}

// restore puts right what a power cut made of bodies that the journal carries. What cannot be put right is found by who opens it, and
// stays in the journal.
func (s *Store) restore(contents []content) {
	mended := 0
	for _, c := range contents {
		v := s.index.versions[c.stamp]
		if v == nil || v.lost || v.entry.Size != int64(len(c.data)) {
			continue
		}
		s.unsynced.add(c.stamp, int64(len(c.data)), s.delay)
		if s.readOnly != nil {
			continue
		}
		right, err := s.restoreBody(c, v)
		if err != nil {
			s.unsynced.doubtful = true
			s.log.Error("body not restored from the journal", "name", v.entry.Name, "stamp", c.stamp, "err", err)
		} else if !right {
			mended++
		}
	}
	if mended > 0 {
		s.log.Info("bodies that a crash had cut short restored from the journal", "count", mended)
	}
}

// restoreBody makes one file hold its bytes, and the plain file be that file. It returns whether all was right.
func (s *Store) restoreBody(c content, v *version) (right bool, err error) {
	path := s.dir.body(c.stamp)
	info, err := os.Lstat(path)
	right = err == nil && info.Mode().IsRegular() && info.Size() == int64(len(c.data))
	if right {
		var found []byte
		found, err = os.ReadFile(path)
		right = err == nil && bytes.Equal(found, c.data)
	}
	if right && (info.ModTime().UnixNano() != int64(c.stamp) || info.Mode().Perm() != 0o644) {
		err = errors.Join(os.Chmod(path, 0o644), os.Chtimes(path, c.stamp.Time(), c.stamp.Time()))
	} else if !right {
		if err = os.RemoveAll(path); err == nil {
			err = writeBody(path, c.stamp, c.data, false)
		}
	}
	if err != nil || s.index.current(v.entry.File) != v {
		return right, err
	}
	body, err := os.Lstat(path)
	plain, missing := os.Lstat(s.dir.plain(v.entry.File))
	if err == nil && (missing != nil || !os.SameFile(body, plain)) {
		s.restage(v.entry.File)
	}
	return right, err
}
