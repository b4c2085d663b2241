package disk

import (
	"errors"
	"fmt"
	"os"
)

// A journal is written anew when it has grown by its own size, and by enough to be worth it.
const minGrowth = 256 << 10

// checkpointRecord is about how large the records of a checkpoint are: damage costs one of them.
const checkpointRecord = 64 << 10

// grown says whether the journal holds so much of the past, or so many bodies, that it should be written anew.
func (s *Store) grown() bool {
	past := s.journal.size - s.journal.base - s.unsynced.bytes
	return past > max(minGrowth, s.journal.base) || s.unsynced.count > maxCarried || s.unsynced.bytes > maxCarriedBytes
}

// checkpoint writes the journal anew, so that it holds the present alone. The bodies that it carried must do without it by then.
// The caller holds writing.
func (s *Store) checkpoint() error {
	s.unsynced.count, s.unsynced.bytes = 0, 0 // or every commit would try again
	if err := s.syncBodies(); err != nil {
		s.journal.base = s.journal.size
		return fmt.Errorf("write journal anew: %w", err)
	}
	s.mu.RLock()
	content, heard := s.index.checkpoint(), len(s.heard)
	s.mu.RUnlock()
	path := s.dir.path("stage", "journal")
	file, err := writeCheckpoint(path, content)
	if err != nil {
		s.journal.base = s.journal.size // or every commit would try again
		return fmt.Errorf("write journal anew: %w", errors.Join(err, os.Remove(path)))
	}
	s.step(stepCheckpointWritten)
	if err := os.Rename(path, s.dir.journal()); err != nil {
		s.journal.base = s.journal.size
		return fmt.Errorf("write journal anew: %w", errors.Join(err, file.Close(), os.Remove(path)))
	}
	s.step(stepCheckpointRenamed)
	s.journal.file.Close()
	s.journal = journal{file: file, size: int64(len(content)), base: int64(len(content))}
	s.mu.Lock()
	s.heard = s.heard[heard:]
	s.mu.Unlock()
	if err := syncPath(string(s.dir)); err != nil {
		// The old journal may come back after a power cut, so nothing may be promised that only the new one says.
		s.journal.sick = fmt.Errorf("sync the new journal: %w", err)
		return s.journal.sick
	}
	return nil
}

// writeCheckpoint returns the file open and durable, or no file.
func writeCheckpoint(path string, content []byte) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(content); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := file.Sync(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// checkpoint is the records that make this index of an empty one.
func (x *index) checkpoint() []byte {
	var records []byte
	payload := mark{x.last, x.id}.append(nil)
	add := func(o op) {
		payload = o.append(payload)
		if len(payload) >= checkpointRecord {
			records = appendRecord(records, payload)
			payload = payload[:0]
		}
	}
	for f, known := range x.files {
		for _, v := range known.old {
			add(put{entry: v.entry})
		}
		if known.current == nil {
			add(remove{file: f})
			continue
		}
		_, damaged := x.damaged[f]
		add(put{entry: known.current.entry, restored: damaged})
		if known.current.lost {
			add(damage{f})
		}
		if known.told != 0 {
			add(told{f, known.told})
		}
	}
	for f, removed := range x.removed {
		if removed.told == 0 {
			continue
		}
		add(remove{file: f, stamp: removed.stamp, told: removed.told})
	}
	add(graphChange{delta: diff(Graph{}, x.graph)})
	add(graphChange{told: true, delta: diff(Graph{}, x.told)})
	add(complete{})
	return appendRecord(records, payload)
}
