package fs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// RENAME, UNLINK and SYMLINK hold their directory's lock in the kernel. Were one of them to wait for a publication, every cold read,
// listing and open for writing beside it would wait too. So such a request starts its work and answers ESTALE at once; the
// kernel lets go of the lock and walks the path again, and the thread's lookup of the directory, which holds no lock, waits for the
// outcome. The request that then comes again is answered from it.

const (
	// lockedWait is how long a repeated request waits with the directory locked. It has to when no lookup came in between: the
	// directory is the working directory, or was given as a descriptor. Who is sent away after it is told of a failure that mostly is
	// none, so it is more than a publication takes on a disk that needs a second for each fsync.
	lockedWait = 5 * time.Second
	// deferralLife is how long an outcome waits for a thread that may have been killed.
	deferralLife = time.Minute
)

// deferralKey tells one request of a thread from its next.
type deferralKey struct {
	op     string
	parent uint64
	name   string
	target string // of a rename or a symbolic link
}

// deferral is the work of one request that holds a directory's lock.
type deferral struct {
	key     deferralKey
	hidden  bool // until the request comes again the thread does not see the name that it makes
	present func(*fuse.EntryOut) bool
	path    string // for .error
	caller  caller
	started time.Time
	waiting bool               // a repeated request waits under the directory's lock
	stop    context.CancelFunc // ends the work, unless it is past the point where it can be ended
	done    chan struct{}
	err     error // valid once done is closed
}

// later runs work without holding up the directory. The answer to the first request of a thread is ESTALE; repeated says that this is
// the request that came again, and err how the work ended.
func (f *FS) later(thread uint32, d *deferral, work func(context.Context) error) (repeated bool, err error) {
	f.mu.Lock()
	if old := f.deferrals[thread]; old != nil && old.key == d.key {
		old.waiting = true
		f.mu.Unlock()
		return true, f.settle(thread, old)
	}
	for t, old := range f.deferrals {
		if time.Since(old.started) > deferralLife {
			delete(f.deferrals, t)
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), publishTimeout)
	d.started, d.done, d.stop = time.Now(), make(chan struct{}), stop
	f.deferrals[thread] = d
	f.deferring.Store(true)
	f.mu.Unlock()
	f.background.Go(func() {
		defer close(d.done)
		defer stop()
		d.err = work(ctx)
	})
	return false, nil
}

// settle waits for the outcome with the directory locked, and gives up before everything beside it is held up for long.
func (f *FS) settle(thread uint32, d *deferral) error {
	defer f.settled(thread, d)
	select {
	case <-d.done:
		return d.err
	default:
	}
	// Ticks that come while this process does not run are lost: only the time in which the work could go on counts.
	tick := time.NewTicker(cancelPoll)
	defer tick.Stop()
	for range lockedWait / cancelPoll {
		select {
		case <-d.done:
			return d.err
		case <-tick.C:
		}
	}
	f.background.Go(func() {
		<-d.done
		outcome := fmt.Errorf("it took longer than %s, and then succeeded", lockedWait)
		if d.err != nil {
			outcome = fmt.Errorf("it took longer than %s, and then failed: %w", lockedWait, d.err)
		}
		f.remember(d.path, d.caller, outcome)
	})
	return fmt.Errorf("still under way after %s; the outcome will be in .error/%s: %w", lockedWait, d.path, registry.ErrTimeout)
}

// settled forgets a deferral.
func (f *FS) settled(thread uint32, d *deferral) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deferrals[thread] == d {
		delete(f.deferrals, thread)
		f.deferring.Store(len(f.deferrals) > 0)
	}
}

// awaitDeferred holds the lookup of a directory by a thread whose request on that directory is under way. A thread that is interrupted
// is told so, and the request does not come again.
func (f *FS) awaitDeferred(cancel <-chan struct{}, thread uint32, parent uint64, name string) fuse.Status {
	if parent != rootNode {
		return fuse.OK
	}
	f.mu.Lock()
	d := f.deferrals[thread]
	f.mu.Unlock()
	if d == nil || f.nameInRoot(d.key.parent) != name {
		return fuse.OK
	}
	done := make(chan error, 1)
	f.background.Go(func() { // bounded by publishTimeout
		<-d.done
		done <- d.err
	})
	err := f.outlast(cancel, thread, done, nil)
	if !errors.Is(err, errKilled) {
		return fuse.OK // the request comes again and is told
	}
	d.stop()
	st := f.interrupted(d.path, d.caller, done)
	if !st.Ok() {
		f.settled(thread, d)
	}
	return st
}

// nameInRoot is the name of a directory of the root.
func (f *FS) nameInRoot(node uint64) string {
	if dir, ok := fixedDirs[node]; ok {
		return dir.name
	}
	dir, _ := depByID(f.store.Graph(), node)
	return string(dir.Name)
}

// deferredLookup shows the thread the directory as it was before its request: what it removes is there until the request comes
// again, and what it makes is not, or the kernel would end the system call with ENOENT or EEXIST.
func (f *FS) deferredLookup(thread uint32, parent uint64, name string, out *fuse.EntryOut) (fuse.Status, bool) {
	f.mu.Lock()
	d := f.deferrals[thread]
	f.mu.Unlock()
	if d == nil || d.key.parent != parent || d.key.name != name {
		return fuse.OK, false
	}
	if d.hidden {
		return fuse.ENOENT, true
	}
	if d.present != nil && d.present(out) {
		out.SetEntryTimeout(0)
		return fuse.OK, true
	}
	return fuse.OK, false
}

// waitingUnder says whether a repeated request waits with this directory locked. f.mu is held.
func (f *FS) waitingUnder(dir uint64) bool {
	for _, d := range f.deferrals {
		if d.key.parent == dir && d.waiting {
			return true
		}
	}
	return false
}
