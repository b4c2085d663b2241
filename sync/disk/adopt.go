package disk

import (
	"fmt"
	"os"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// lostIDs is how far the graph ids are pushed on when part of the journal is lost: what it allotted there is not known.
const lostIDs = 1 << 16

// adopt makes up, after damage in the middle of the journal, for what it said there. What the plain tree shows is what was
// current last, and each plain file is a body whose stamp is its mtime; version and author are lost, so the registry is asked
// again. Then the journal is written anew, and the damaged one kept in quarantine.
func (s *Store) adopt() error {
	_ = eachName(s.dir.bodies(), func(name string) {
		if stamp, err := parseStamp(name); err == nil && stamp < maxStamp {
			s.index.saw(stamp)
		}
	})
	s.index.id += lostIDs
	adopted := 0
	for _, kind := range kinds {
		err := eachName(s.dir.path("files", kind.String()), func(name string) {
			if s.adoptFile(File{kind, name}) {
				adopted++
			}
		})
		if err != nil {
			return fmt.Errorf("look for versions that the journal has lost: %w", err)
		}
	}
	if err := os.Link(s.dir.journal(), s.dir.path("quarantine", fmt.Sprintf("journal-%d", s.now().Unix()))); err != nil {
		s.log.Warn("damaged journal not kept", "err", err)
	}
	s.log.Info("versions found again by their plain files", "count", adopted)
	return s.checkpoint()
}

func (s *Store) adoptFile(f File) bool {
	info, err := os.Lstat(s.dir.plain(f))
	if err != nil || !info.Mode().IsRegular() || f.validate() != nil {
		return false
	}
	stamp := Stamp(max(info.ModTime().UnixNano(), 0))
	body, err := os.Lstat(s.dir.body(stamp))
	if err != nil || !os.SameFile(info, body) {
		return false // not a body: somebody else wrote it
	}
	if v := s.index.current(f); v != nil && v.entry.Stamp >= stamp || s.index.versions[stamp] != nil {
		return false
	}
	data, err := os.ReadFile(s.dir.body(stamp))
	if err != nil {
		s.log.Warn("plain file not adopted", "path", s.dir.plain(f), "err", err)
		return false
	}
	put{restored: true, entry: Entry{
		File: f, Stamp: stamp, Size: int64(len(data)), SHA256: registry.Sum(data), Published: time.Time{}.UTC(),
	}}.apply(s.index)
	return true
}

// isMissing says whether there is no journal, or nothing in it.
func isMissing(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Size() == 0
}

func isEmpty(path string) bool {
	empty := true
	_ = eachName(path, func(string) { empty = false })
	return empty
}
