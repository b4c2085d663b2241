package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/sync/disk"
)

// settleTimeout bounds how long a verb waits for what it did to be seen here, so that what is typed next finds it. A busy machine, or a slow
// disk, may stand still for seconds; half of what a verb may take at all is left for what it does.
const settleTimeout = 5 * time.Second

// settleFirst is the first pause between looks, which double up to waitMost.
const settleFirst = time.Millisecond

// settles waits until something is so, and says whether it came to that.
func settles(ctx context.Context, so func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for pause := settleFirst; !so(); pause = min(2*pause, waitMost) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// changes says whether the requests of a route may change something.
func changes(pattern string) bool { return !strings.HasPrefix(pattern, "GET ") }

// asksRegistry says whether the requests of a route need the registry. Who has just seen the monitor start may send one.
func asksRegistry(pattern string) bool {
	return changes(pattern) || strings.Contains(pattern, "/registry/") || strings.Contains(pattern, "/dependencies") || strings.Contains(pattern, "{name}/")
}

// settle waits until the kernel and the watchers have heard of every version that is on disk now, and of what is gone: the cat after a
// command must not show what was before it. A version whose writer still has its file open is not waited for.
func (s *server) settle(ctx context.Context) {
	fresh := slices.DeleteFunc(s.store.Unannounced(), func(e disk.Entry) bool { return e.Origin != 0 })
	gone := s.store.Removed()
	settles(ctx, func() bool {
		fresh = slices.DeleteFunc(fresh, func(e disk.Entry) bool {
			_, here := s.store.Current(e.File)
			return !here || s.store.LastAnnounced(e.File) >= e.Stamp
		})
		if len(gone) > 0 {
			left := s.store.Removed()
			gone = slices.DeleteFunc(gone, func(r disk.Removal) bool { return !slices.Contains(left, r) })
		}
		return len(fresh)+len(gone) == 0
	})
}
