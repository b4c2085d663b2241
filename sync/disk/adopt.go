package disk

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// lostIDs is how far the graph ids are pushed on when part of the journal is lost: what it allotted there is not known.
const lostIDs = 1 << 16

// unlisted finds what the journal should say and does not. A plain file is put in place after its commit only, and it is a body
// whose stamp is its mtime: so one that is newer than the index knows was committed, and lost with part of the journal. Its version
// and author are lost too, so it has to be fetched again; until then its bytes are the best there are.
func (s *Store) unlisted() (lost []put) {
	for _, kind := range kinds {
		err := eachName(s.dir.path("files", kind.String()), func(name string) {
			if e, ok := s.unlistedFile(File{kind, name}); ok {
				lost = append(lost, put{entry: e, restored: true})
			}
		})
		if err != nil {
			s.log.Warn("versions that the journal has lost cannot be looked for", "err", err)
		}
	}
	return lost
}

func (s *Store) unlistedFile(f File) (Entry, bool) {
	info, err := os.Lstat(s.dir.plain(f))
	if err != nil || !info.Mode().IsRegular() || f.validate() != nil {
		return Entry{}, false
	}
	stamp := Stamp(max(info.ModTime().UnixNano(), 0))
	if v := s.index.current(f); v != nil && v.entry.Stamp >= stamp || s.index.versions[stamp] != nil {
		return Entry{}, false
	}
	body, err := os.Lstat(s.dir.body(stamp))
	if err != nil || !os.SameFile(info, body) {
		return Entry{}, false // not a body: somebody else wrote it
	}
	data, err := os.ReadFile(s.dir.body(stamp))
	if err != nil {
		s.log.Warn("plain file not adopted", "path", s.dir.plain(f), "err", err)
		return Entry{}, false
	}
	if len(bytes.Trim(data, "\x00")) == 0 {
		return Entry{}, false // it may be what a power cut has left of a body
	}
	return Entry{File: f, Stamp: stamp, Size: int64(len(data)), SHA256: registry.Sum(data)}, true
}

// adopt makes up for a journal that lost something, of which so much was found again. It is written anew, and the damaged one kept in
// quarantine.
func (s *Store) adopt(found int) error {
	// What the lost part allotted must not be allotted again.
	_ = eachName(s.dir.bodies(), func(name string) {
		if stamp, err := parseStamp(name); err == nil && stamp <= maxStamp {
			s.index.saw(stamp)
		}
	})
	if info, err := s.journal.file.Stat(); err == nil {
		s.index.saw(Stamp(0).after(info.ModTime().Add(time.Second)))
	}
	s.index.id += lostIDs
	s.log.Error("journal damaged", "path", s.dir.journal(), "found_again", found, "do", "check the disk")
	if s.readOnly != nil {
		return nil
	}
	if err := os.Link(s.dir.journal(), s.dir.path("quarantine", fmt.Sprintf("journal-%d", s.now().Unix()))); err != nil {
		s.log.Warn("damaged journal not kept", "err", err)
	}
	return s.checkpoint()
}
