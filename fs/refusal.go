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
	path string // KIND/NAME
	err  error
	who  caller
	when time.Time
}

// maxRefusals bounds how many are kept: anybody may try to write anything.
const maxRefusals = 1024

func (f *FS) remember(path string, c caller, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refusals) >= maxRefusals {
		var oldest uint64
		for id, r := range f.refusals {
			if oldest == 0 || r.when.Before(f.refusals[oldest].when) {
				oldest = id
			}
		}
		delete(f.refusals, oldest)
	}
	f.refusals[refusalID(path)] = &refusal{path: path, err: err, who: c, when: now()}
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
	for _, e := range []error{registry.ErrInvalid, registry.ErrPermission, registry.ErrReadOnly, syscall.EPERM} {
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
		if e, ok := f.store.Current(disk.File{Kind: k, Name: name}); ok && e.Version != "" {
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
