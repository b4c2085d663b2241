package fs

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// refusal is why the last write to a name was refused. It is shown as .error/KIND/NAME until a write succeeds.
type refusal struct {
	path   string // KIND/NAME
	err    error
	who    caller
	when   time.Time
	logged time.Time
	quiet  int // refusals since then that were not logged
}

// logEvery is how often the same refusal of the same writer is worth a line in the log.
const logEvery = time.Minute

// maxRefusals bounds how many are kept: anybody may try to write anything.
const maxRefusals = 1024

// remember keeps a refusal, and logs it unless it is one of many.
func (f *FS) remember(path string, c caller, err error) {
	r := f.keepRefusal(&refusal{path: path, err: err, who: c, when: now()})
	if r.quiet == 0 {
		f.log.Info("refused", "name", path, "writer", c, "errno", syscall.Errno(status(err)).Error(), "err", err)
	}
}

// keepRefusal puts r in the place of the one before, and takes over its count if it is the same again.
func (f *FS) keepRefusal(r *refusal) *refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := refusalID(r.path)
	old := f.refusals[id]
	r.logged = r.when
	if old != nil && old.who.process == r.who.process && old.err.Error() == r.err.Error() && r.when.Sub(old.logged) < logEvery {
		r.logged, r.quiet = old.logged, old.quiet+1
	}
	f.refusals[id] = r
	if len(f.refusals) <= maxRefusals {
		return r
	}
	oldest := id
	for id, other := range f.refusals {
		if other.when.Before(f.refusals[oldest].when) {
			oldest = id
		}
	}
	delete(f.refusals, oldest)
	return r
}

// forgive forgets the refusal of a name that was just written.
func (f *FS) forgive(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.refusals, refusalID(path))
}

// refusalText is the content of a file of .error.
func (f *FS) refusalText(node uint64) ([]byte, bool) {
	f.mu.Lock()
	r := f.refusals[node]
	f.mu.Unlock()
	if r == nil {
		return nil, false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "refused: %s\n", r.reason())
	if still := f.still(r.path); still != "" {
		fmt.Fprintf(&b, "still:   %s\n", still)
	}
	fmt.Fprintf(&b, "who:     %s, %s\n", r.who, r.when.UTC().Format(time.RFC3339))
	return []byte(b.String()), true
}

// reason is the error in one line, without the errno's own words at its end.
func (r *refusal) reason() string {
	text := strings.ReplaceAll(r.err.Error(), "\n", " ")
	for _, e := range []error{registry.ErrInvalid, registry.ErrPermission, registry.ErrReadOnly, syscall.EPERM, syscall.EINTR} {
		text = strings.TrimSuffix(text, ": "+e.Error())
	}
	return text
}

// still says what readers of the name go on seeing.
func (f *FS) still(path string) string {
	kind, name, _ := strings.Cut(path, "/")
	for _, k := range []registry.Kind{registry.Config, registry.Serverset, registry.Decider} {
		if k.String() != kind {
			continue
		}
		e, ok := f.store.Current(disk.File{Kind: k, Name: name})
		if ok && k == registry.Decider {
			return fmt.Sprintf("%s, version %s", f.percentOf(e), e.Version)
		}
		if ok && e.Version != "" {
			return fmt.Sprintf("%d bytes, version %s", e.Size, e.Version)
		} else if ok {
			return "empty, never written"
		}
	}
	return ""
}

func (f *FS) listRefusals(kind string) []listed {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []listed
	for id, r := range f.refusals {
		if k, name, _ := strings.Cut(r.path, "/"); k == kind {
			all = append(all, listed{name, id, syscall.S_IFREG})
		}
	}
	return all
}
