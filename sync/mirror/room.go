package mirror

import (
	"fmt"
	"os"
	"syscall"
)

// spareRoom is what a version takes beside its body: its share of the journal, and a block here and there. In bytes.
const spareRoom = 64 << 10

// room refuses what this machine's disk could not take. Published it would be current everywhere else, while its writer was told that
// it failed and went on seeing the version before.
func (m *Mirror) room(size int) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(m.store.Dir(), &fs); err != nil {
		return nil // whatever that is, the commit says it better
	}
	free := fs.Bavail
	if os.Geteuid() == 0 {
		free = fs.Bfree // a part of it is kept for root
	}
	left, need := free*uint64(fs.Bsize), uint64(size)+spareRoom
	switch {
	case left < need:
		return fmt.Errorf("%s has %d KiB left, this needs %d: %w", m.store.Dir(), left>>10, need>>10, syscall.ENOSPC)
	case fs.Files > 0 && fs.Ffree == 0:
		return fmt.Errorf("%s has no room for another file: %w", m.store.Dir(), syscall.ENOSPC)
	}
	return nil
}
