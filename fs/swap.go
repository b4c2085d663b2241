package fs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/sync/disk"
)

const (
	// swapTimeout bounds the wait for the kernel to drop the old directory entry. It is more than the keeper takes to replace a poker that
	// keeps dying (5 s), or hangs (12 s): who reads what was there before after this returned has lost a promise.
	swapTimeout = 15 * time.Second
	// lockedSwap bounds it for who has a directory locked meanwhile.
	lockedSwap = 100 * time.Millisecond
	// swapRetry is the pause after the poker died in that wait.
	swapRetry = 5 * time.Millisecond
)

// swaps is what the announcer has made the kernel forget of the files that somebody is publishing: he need not do it again. The zero
// value is ready.
type swaps struct {
	mu    sync.Mutex
	files map[disk.File]*swap
}

type swap struct {
	publishers int
	seen       disk.Stamp // since when the kernel finds this version, or a later one
}

// watch begins to look out for a file.
func (s *swaps) watch(file disk.File) (seen func() disk.Stamp, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.files[file]
	if w == nil {
		if s.files == nil {
			s.files = map[disk.File]*swap{}
		}
		w = &swap{}
		s.files[file] = w
	}
	w.publishers++
	seen = func() disk.Stamp {
		s.mu.Lock()
		defer s.mu.Unlock()
		return w.seen
	}
	return seen, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.publishers--; w.publishers == 0 {
			delete(s.files, file)
		}
	}
}

// forgotten notes that the kernel has dropped the entry of a file after this version of it, or a later one, was there to be found.
func (s *swaps) forgotten(file disk.File, seen disk.Stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.files[file]; w != nil {
		w.seen = max(w.seen, seen)
	}
}

// swapBeside is swap for the work of a request that may be waiting with its directory locked: the poker may be waiting for that lock, and
// goes on with the request's end.
func (f *FS) swapBeside(d *deferral, files ...disk.File) {
	f.mu.Lock()
	timeout := swapTimeout
	if d.waiting {
		timeout = lockedSwap
	}
	f.mu.Unlock()
	f.swapWithin(timeout, files...)
}

// swap makes the kernel drop the directory entries of the versions before, so that whoever reads after a publication returned sees what
// was published. The caller's thread holds no lock of these directories in the kernel.
func (f *FS) swap(files ...disk.File) { f.swapWithin(swapTimeout, files...) }

func (f *FS) swapWithin(timeout time.Duration, files ...disk.File) {
	if f.poker == nil || len(files) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var ops []keeper.Op
	for _, file := range files {
		ops = append(ops, keeper.Op{Kind: keeper.InvalidateEntry, Parent: dirOf(file), Name: file.Name})
	}
	for {
		_, err := f.poker.Do(ctx, ops)
		if errors.Is(err, keeper.ErrPoker) { // the keeper starts another
			select {
			case <-time.After(swapRetry):
				continue
			case <-f.ending: // there will be none
			case <-ctx.Done():
			}
		}
		if err != nil && timeout == swapTimeout {
			f.log.Warn("directory entry not invalidated", "name", files[0].String(), "err", err)
		}
		return
	}
}
