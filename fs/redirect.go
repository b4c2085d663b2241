package fs

import (
	"time"

	"github.com/kingpinfs/kingpin/sync/disk"
)

// redirects are the threads that were just told ESTALE, and are expected to come back. They are keyed by thread, since the kernel
// retries the path walk in the system call that met the ESTALE, and by the name that it will look up.
type redirects map[redirectKey]*redirect

type redirectKey struct {
	thread uint32
	parent uint64
	name   string
}

// redirect is what a thread that comes back is to be given.
type redirect struct {
	expires  time.Time
	looked   bool   // the name was looked up: the ESTALE did what it should
	write    bool   // a draft, made by the first lookup
	caller   caller // who opens it for writing
	draft    *draft
	nameless bool // the draft has a descriptor and no name: it is for the truncation of that open and for no lookup
}

// redirectTime is how long a thread may take to come back. A system call does so at once, but on a busy machine its thread may not run
// for seconds: told ESTALE a second time, it would pass that on to the program. The limit is for those killed in between.
const redirectTime = 10 * time.Second

func keyOf(thread uint32, e disk.Entry) redirectKey {
	return redirectKey{thread, dirOf(e.File), e.Name}
}

// redirect returns the live redirect of a key, or nil. f.mu is held.
func (f *FS) redirect(k redirectKey) *redirect {
	r := f.redirects[k]
	if r != nil && now().After(r.expires) {
		delete(f.redirects, k)
		return nil
	}
	return r
}

// expect remembers that a thread was told ESTALE. f.mu is held.
func (f *FS) expect(k redirectKey, r *redirect) {
	for key, old := range f.redirects { // few: one a thread in the middle of a system call
		if now().After(old.expires) {
			delete(f.redirects, key)
			f.dropUnopened(old.draft)
		}
	}
	r.expires = now().Add(redirectTime)
	f.redirects[k] = r
}

// redirected is the draft that a lookup by this thread leads to, or nil if the lookup is like any other. The kernel may look a name up
// twice, to revalidate and then to find it: both lead to the same draft.
func (f *FS) redirected(thread uint32, parent uint64, name string) *draft {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := redirectKey{thread, parent, name}
	r := f.redirect(k)
	if r != nil && r.nameless {
		delete(f.redirects, k)
		return nil
	}
	if r == nil {
		return nil
	}
	r.looked = true
	if !r.write {
		return nil
	}
	if r.draft == nil {
		current, ok := f.store.Current(disk.File{Kind: kindOfDir(parent), Name: name})
		if !ok {
			return nil
		}
		r.draft = f.newDraft(current.File, false, r.caller)
		r.draft.startFrom(current, f.loader(current))
	}
	return r.draft
}

// goneStale decides about a read of a version that is not current any more. The first time the thread is told ESTALE and
// looks the name up again; if it has done so, it gets whatever it opens then.
func (f *FS) goneStale(thread uint32, e disk.Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := keyOf(thread, e)
	if r := f.redirect(k); r != nil && !r.write {
		delete(f.redirects, k)
		return false
	}
	if f.waitingUnder(k.parent) {
		return false // a lookup in that directory would have to wait: the version that was named is good enough
	}
	f.expect(k, &redirect{})
	return true
}

// arrived forgets that a thread was told ESTALE: it has looked the name up, and opens for reading what it found.
func (f *FS) arrived(thread uint32, e disk.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.redirects) == 0 {
		return
	}
	k := keyOf(thread, e)
	if r := f.redirects[k]; r != nil && !r.write {
		delete(f.redirects, k)
	}
}

// bypassed says whether the thread was told ESTALE and came back without looking the name up.
func (f *FS) bypassed(thread uint32, e disk.Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := keyOf(thread, e)
	r := f.redirect(k)
	if r == nil || r.write || r.looked {
		return false
	}
	delete(f.redirects, k)
	return true
}
