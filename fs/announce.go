package fs

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/sync/disk"
)

const (
	// pokeBatch is how many ops go to the poker at once. It does them one after the other, and a writer that has just
	// published waits for its turn.
	pokeBatch = 32
	// pokeRetry is the pause after the poker died; the keeper starts another.
	pokeRetry = 50 * time.Millisecond
	// maxHeld is how many old versions of one name watchers may hold. A program that adds a watch at every event would make the
	// number grow for ever: the oldest are told that their file is gone.
	maxHeld = 64
	// closeAfterSync is how soon a writer that called fsync closes the file, if its close is to be the event.
	closeAfterSync = 200 * time.Millisecond
	// closeAfterWrite is the same for a decider, whose writers nearly always close at once.
	closeAfterWrite = time.Second
	// sweepEvery is how often the kernel is asked again about old versions that somebody held.
	sweepEvery = time.Minute
)

// announcer tells the kernel, and through it the watchers, what has changed on disk. It runs beside the handlers and takes no
// lock that they hold.
type announcer struct {
	f        *FS
	released map[disk.Stamp]bool // old versions that nobody holds any more, as the kernel said
	born     map[disk.File]bool  // of the files that are announced now, those whose coming has been the event
}

// announce runs until ctx ends. Versions that were committed and not announced when the last server died come first.
func (f *FS) announce(ctx context.Context) {
	a := &announcer{f: f, released: map[disk.Stamp]bool{}}
	changes := make(chan disk.Changed)
	f.background.Go(func() {
		defer close(changes)
		for changed := range f.store.Changes(ctx) {
			changes <- changed // what changes while it waits comes in the next one
		}
	})
	graph := make(chan struct{}, 1)
	defer close(graph)
	f.background.Go(func() { // beside the files, which nobody should have to wait for while a thousand links come
		for range graph {
			a.edges(ctx)
		}
	})
	// The kernel has to know the hidden directory before it is needed: to look it up takes the lock of the root, and a slow mkdir may have that.
	a.poke(ctx, []keeper.Op{{Kind: keeper.Touch, Path: filepath.Join(f.mount, fixedDirs[pokeNode].name, "0")}})
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case changed, ok := <-changes:
			if !ok {
				return
			}
			a.files(ctx, changed.Files)
			if changed.Graph {
				select {
				case graph <- struct{}{}:
				default: // it is to be looked at again anyway
				}
			}
		case <-sweep.C:
			a.ask(ctx, nil, f.store.Expired())
		}
		a.prune()
	}
}

// files makes the kernel forget the old entries of files, all of them first, and then raises the events: each name once, however
// often it changed. Of a single file, the usual case, all that is done by one round trip to the poker.
func (a *announcer) files(ctx context.Context, files []disk.File) {
	var forget []keeper.Op
	seen := make([]disk.Stamp, len(files)) // what the kernel finds when it has forgotten, or something later
	for i, file := range files {
		current, _ := a.f.store.Current(file)
		seen[i] = current.Stamp
		forget = append(forget, keeper.Op{Kind: keeper.InvalidateEntry, Parent: dirOf(file), Name: file.Name})
	}
	if len(files) > 1 {
		a.poke(ctx, forget)
		if ctx.Err() != nil {
			return
		}
		forget = nil
		for i, file := range files {
			a.f.swaps.forgotten(file, seen[i])
		}
	}
	a.bear(ctx, files)
	removed := map[disk.File]disk.Stamp{}
	for _, r := range a.f.store.Removed() {
		removed[r.File] = r.Stamp
	}
	var announced []disk.Stamp
	var raised []disk.Entry
	for _, file := range files {
		current, ok := a.f.store.Current(file)
		if _, gone := removed[file]; gone && !ok {
			if !a.f.takeOwn(ownEdit{dirOf(file), file.Name, Unsubscribe}) {
				a.poke(ctx, forget)
				a.vanish(ctx, file)
			}
			announced = append(announced, removed[file])
		}
		a.raise(ctx, file, current, ok, forget)
		if ctx.Err() != nil {
			return
		}
		switch {
		case ok && (current.Origin == synced || current.Origin == written) && !a.f.o.Renames[file.Kind]:
			a.f.background.Go(func() { a.afterSync(ctx, current) })
		case ok:
			announced, raised = append(announced, current.Stamp), append(raised, current)
		}
	}
	a.f.store.Announced(announced...)
	for _, e := range raised {
		a.f.o.Announced(e)
	}
}

// bear raises the events that new files have come, of those that nobody made here.
func (a *announcer) bear(ctx context.Context, files []disk.File) {
	a.born = map[disk.File]bool{}
	var births []*birth
	for _, file := range files {
		e, ok := a.f.store.Current(file)
		if ok && e.Origin == 0 && !a.f.o.Renames[file.Kind] && a.f.store.LastAnnounced(file) == 0 {
			op := keeper.Op{Kind: keeper.MakeFile, Path: a.path(file)}
			births = append(births, &birth{place: place{dirOf(file), file.Name}, op: op})
			a.born[file] = true
		}
	}
	for _, b := range a.appear(ctx, births...) {
		delete(a.born, disk.File{Kind: kindOfDir(b.parent), Name: b.name})
	}
}

// raise has ops done, which make the kernel forget the file unless it has, and raises the events of one file: on the name, unless the writer's own system calls do it, and on every old
// version that somebody still watches.
func (a *announcer) raise(ctx context.Context, file disk.File, current disk.Entry, exists bool, ops []keeper.Op) {
	forgetting := len(ops) > 0
	switch {
	case a.born[file]:
	case exists && a.f.o.Renames[file.Kind]:
		a.poke(ctx, ops)
		ops = a.renamed(ctx, file, current)
	case !exists, current.Origin == written: // the kernel says IN_MODIFY when the write is over, which published it
	case current.Origin == closed, current.Origin == synced:
		// The writer's own IN_MODIFY came before this could be read, and many ask for nothing else: fsnotify, Node, Java.
		ops = append(ops, keeper.Op{Kind: keeper.Modify, Path: a.path(file)})
	default:
		ops = append(ops, a.touch(file))
	}
	held := a.ask(ctx, ops, a.f.store.SupersededOf(file))
	if forgetting && ctx.Err() == nil {
		a.f.swaps.forgotten(file, current.Stamp)
	}
	var touches []keeper.Op
	for i, stamp := range held {
		name := strconv.FormatUint(uint64(stamp), 10)
		path := filepath.Join(a.f.mount, fixedDirs[pokeNode].name, name)
		if !exists || i < len(held)-maxHeld {
			touches = append(touches, keeper.Op{Kind: keeper.RemoveFile, Path: path})
			continue
		}
		forget := keeper.Op{Kind: keeper.InvalidateEntry, Parent: pokeNode, Name: name} // or our own lookup keeps it alive
		touches = append(touches, keeper.Op{Kind: keeper.Touch, Path: path}, forget)
	}
	a.poke(ctx, touches)
}

// renamed raises the event that something was renamed to the name, for those who react to that alone; whoever does so himself here has
// raised it. What the poker renames is another name of the version, in a directory that nobody watches, and to it the name itself is
// not there: the kernel makes nothing of a rename of a file to itself. If somebody looks the name up each time just before, the
// other events have to do.
func (a *announcer) renamed(ctx context.Context, file disk.File, current disk.Entry) []keeper.Op {
	if current.Origin == renamed {
		return nil
	}
	other := filepath.Join(a.f.mount, fixedDirs[pokeNode].name, strconv.FormatUint(uint64(current.Stamp), 10))
	for range maxBirths {
		op := keeper.Op{Kind: keeper.Rename, Path: other, Name: a.path(file)}
		if len(a.appear(ctx, &birth{place: place{dirOf(file), file.Name}, op: op})) == 0 {
			return nil
		}
	}
	return []keeper.Op{a.touch(file)}
}

func (a *announcer) path(file disk.File) string { return filepath.Join(a.f.mount, file.String()) }

func (a *announcer) touch(file disk.File) keeper.Op {
	return keeper.Op{Kind: keeper.Touch, Path: a.path(file)}
}

// afterSync raises the event on the name of a version that was published by fsync or write, unless the writer closes the file first:
// its close is then the event, and one is enough. Looks are counted, not the time: a machine that stands still holds up the writer, too.
func (a *announcer) afterSync(ctx context.Context, e disk.Entry) {
	patience := a.f.pace.closeAfterSync
	if e.Origin == written {
		patience = a.f.pace.closeAfterWrite
	}
	const pause = closeAfterSync / 10
	for looks := patience / pause; a.f.writing(e); looks-- {
		if looks == 0 {
			a.poke(ctx, []keeper.Op{a.touch(e.File)})
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	if ctx.Err() == nil {
		a.f.store.Announced(e.Stamp)
		a.f.o.Announced(e)
	}
}

// writing says whether the writer of a version still has the file open.
func (f *FS) writing(e disk.Entry) bool {
	f.mu.Lock()
	var open []*draft
	for _, d := range f.drafts {
		if d.file == e.File && d.handles > 0 {
			open = append(open, d)
		}
	}
	f.mu.Unlock()
	return slices.ContainsFunc(open, func(d *draft) bool {
		if !d.publishing.TryLock() {
			return true // it may be his: he does not know yet what he has published
		}
		defer d.publishing.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.base.Stamp == e.Stamp
	})
}

// ask finds out which of some old versions somebody has open, mapped or watched, oldest first. The kernel knows; a version that
// nobody holds is never looked up again. Other ops may be done on the same way, before.
func (a *announcer) ask(ctx context.Context, ops []keeper.Op, old []disk.Entry) (held []disk.Stamp) {
	others := len(ops)
	var asked []disk.Stamp
	for _, e := range old {
		if !a.released[e.Stamp] {
			ops = append(ops, keeper.Op{Kind: keeper.InvalidateInode, Node: uint64(e.Stamp)})
			asked = append(asked, e.Stamp)
		}
	}
	results := a.poke(ctx, ops)
	for i, errno := range results[min(others, len(results)):] {
		if errno == unix.ENOENT {
			a.released[asked[i]] = true
		} else {
			held = append(held, asked[i])
		}
	}
	return held
}

// prune deletes the bodies beyond the history that nobody holds.
func (a *announcer) prune() {
	for _, e := range a.f.store.Expired() {
		if !a.released[e.Stamp] || a.f.pinned(e.Stamp) {
			continue
		}
		a.f.bodies.forget(e.Stamp)
		if err := a.f.store.Drop(e.Stamp); err != nil {
			a.f.log.Error("old body not deleted", "name", e.File.String(), "version", e.Version, "err", err)
			continue
		}
		delete(a.released, e.Stamp)
	}
}

// poke has ops done, in batches, and does not give up while ctx lasts: an event may come twice, never zero times.
func (a *announcer) poke(ctx context.Context, ops []keeper.Op) []unix.Errno {
	var results []unix.Errno
	for len(ops) > 0 && ctx.Err() == nil {
		batch := ops[:min(len(ops), pokeBatch)]
		done, err := a.f.poker.Do(ctx, batch)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(pokeRetry):
			}
			continue
		}
		results = append(results, done...)
		ops = ops[len(batch):]
	}
	return results
}

// pinned says whether something here still needs the body of a version that the kernel does not hold: a draft that has not read
// it yet, or a descriptor that reads it through another inode.
func (f *FS) pinned(s disk.Stamp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pins[s] > 0 {
		return true
	}
	for _, d := range f.drafts {
		if d.origin.Stamp == s {
			return true
		}
	}
	return false
}
