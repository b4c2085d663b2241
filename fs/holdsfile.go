package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
)

// The kernel keeps a file open over the death of the server, and tells the next one when it is closed. So holds are noted down, and
// the next server goes on with them. They belong to one mount: with it, and with the machine, all open files of it have gone.

// holdsFile is the note, in the state directory.
const holdsFile = "holds.json"

// noted is what it holds.
type noted struct {
	Mounted time.Time       `json:"mounted"` // when the mount was made that the holds are of
	Holds   []*hold         `json:"holds"`
	Dirs    []registry.Name `json:"dirs"` // of .register, that are not followed here
}

// saveHolds notes down what is held. It need not outlive a loss of power, so it is not synced.
func (f *FS) saveHolds() {
	f.holds.saving.Lock()
	defer f.holds.saving.Unlock()
	f.holds.mu.Lock()
	n := noted{Mounted: f.mounted, Holds: []*hold{}}
	for _, h := range f.holds.byNode {
		n.Holds = append(n.Holds, h)
	}
	for _, name := range f.holds.dirs {
		n.Dirs = append(n.Dirs, name)
	}
	data, err := json.Marshal(n)
	f.holds.mu.Unlock()
	path := filepath.Join(f.store.Dir(), holdsFile)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		f.log.Error("registrations are not noted down: they would end with this server", "err", err)
	}
}

// resumeHolds goes on with what the server before this one held on the same mount.
func (f *FS) resumeHolds(a *keeper.Attachment) {
	f.mounted = a.Started
	if f.o.Register == nil {
		return
	}
	data, err := os.ReadFile(filepath.Join(f.store.Dir(), holdsFile))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var n noted
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil {
		f.log.Error("registrations of the server before are not known", "err", err)
		return
	}
	if a.Incarnation <= 1 || !n.Mounted.Equal(a.Started) {
		return // of a mount that is gone, with everything that was open on it
	}
	for _, name := range n.Dirs {
		f.holds.rememberDir(hiddenID(registerDirKind, string(name)), name)
	}
	for _, h := range n.Holds {
		f.resume(h)
	}
}

func (f *FS) resume(h *hold) {
	if h.Written == nil {
		h.Written = h.Data // noted by a version that kept no more
	}
	h.created, h.doubted = now(), true
	r, err := f.o.Register(h.Name, h.Endpoint)
	if err == nil {
		h.registration = r
		if len(h.Data) > 0 {
			err = r.Set(h.Data)
		}
	}
	if err != nil {
		f.remember(registerPath(h.Name), h.caller, fmt.Errorf("%s, after a restart: %w", h.Endpoint, err))
	}
	f.holds.add(h)
}

const (
	// doubtEvery is how often the kernel is asked about holds that it may know nothing of, and sureEvery about all of them.
	doubtEvery = 2 * time.Second
	sureEvery  = time.Minute
	// maxStrikes is how often in a row it has to know nothing of one that is given up. A thread that is just opening it may be slow.
	maxStrikes = 3
)

// watchHolds asks the kernel whether what is held is still open, until ctx ends. It always says when a file is closed, but a server that
// was killed at that moment may have taken the word with it.
func (f *FS) watchHolds(ctx context.Context) {
	if f.o.Register == nil {
		return
	}
	sure := time.Now()
	for {
		holds, wait := f.holds.all(), sureEvery // a server that holds nothing has nothing to wake up for
		if slices.ContainsFunc(holds, f.holds.doubts) {
			wait = doubtEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		all := time.Since(sure) >= sureEvery
		if all {
			holds, sure = f.holds.all(), time.Now()
		}
		for _, h := range holds {
			if all || f.holds.doubts(h) {
				f.checkHold(ctx, h)
			}
		}
	}
}

func (s *holds) doubts(h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.doubted || h.strikes > 0
}

// checkHold asks the kernel about one hold. The name alone would keep its inode.
func (f *FS) checkHold(ctx context.Context, h *hold) {
	results, err := f.poker.Do(ctx, []keeper.Op{
		{Kind: keeper.InvalidateEntry, Parent: hiddenID(registerDirKind, string(h.Name)), Name: h.File},
		{Kind: keeper.InvalidateInode, Node: h.Node},
	})
	if err != nil || len(results) < 2 {
		return // the poker died; the keeper starts another
	}
	f.holds.mu.Lock()
	h.doubted = false
	h.strikes++
	if results[1] != unix.ENOENT {
		h.strikes = 0
	}
	gone := h.strikes >= maxStrikes && f.holds.byNode[h.Node] == h
	if gone {
		delete(f.holds.byNode, h.Node)
	}
	f.holds.mu.Unlock()
	if !gone {
		return
	}
	f.log.Warn("a registration was given up: nobody has its file open", "name", h.Name, "endpoint", h.Endpoint)
	f.saveHolds()
	if h.registration != nil {
		h.registration.Close()
	}
}
