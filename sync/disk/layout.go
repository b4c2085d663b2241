package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// format is the version of everything below the directory. It grows when an older program would misread it.
const format = 1

// layout is where things are below the state directory; LAYOUT.md says what they are.
type layout string

func (l layout) path(elements ...string) string {
	return filepath.Join(append([]string{string(l)}, elements...)...)
}

func (l layout) format() string            { return l.path("FORMAT") }
func (l layout) lock() string              { return l.path("lock") }
func (l layout) journal() string           { return l.path("journal") }
func (l layout) bodies() string            { return l.path("bodies") }
func (l layout) body(s Stamp) string       { return l.path("bodies", s.String()) }
func (l layout) staged(s Stamp) string     { return l.path("stage", s.String()) }
func (l layout) plain(f File) string       { return l.path("files", f.Kind.String(), f.Name) }
func (l layout) quarantine(s Stamp) string { return l.path("quarantine", s.String()) }

// kinds are the directories of the plain tree.
var kinds = []registry.Kind{registry.Config, registry.Serverset, registry.Decider}

// check reads FORMAT and changes nothing. It says whether the directory is in use already.
func (l layout) check() (exists bool, err error) {
	b, err := os.ReadFile(l.format())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, l.checkForeign()
	case err != nil:
		return false, fmt.Errorf("state directory %s: %w", string(l), err)
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "kingpin state ")
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil:
		return false, fmt.Errorf("state directory %s: FORMAT says %.40q, which is not KingPin's; move the directory away or use another: %w",
			string(l), b, registry.ErrInvalid)
	case n > format:
		return false, fmt.Errorf("state directory %s has format %d and this program knows formats up to %d; "+
			"run the newer program again or use another state directory: %w", string(l), n, format, registry.ErrInvalid)
	}
	return true, nil
}

// checkForeign refuses a directory in which somebody else keeps what we would write to. Other names are not our business: the
// embedded registry and the control socket live beside us.
func (l layout) checkForeign() error {
	for _, name := range []string{"bodies", "files", "journal", "quarantine", "stage"} {
		if _, err := os.Lstat(l.path(name)); err == nil {
			return fmt.Errorf("state directory %s has %s but no FORMAT, so it is not KingPin's or was damaged; "+
				"move it away or use another: %w", string(l), name, registry.ErrInvalid)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state directory %s: %w", string(l), err)
		}
	}
	return nil
}

// create makes what is missing. FORMAT comes first: with it, whatever a crash leaves is known to be ours.
func (l layout) create(exists bool) error {
	if !exists {
		content := fmt.Sprintf("kingpin state %d\n", format)
		if err := renameio.WriteFile(l.format(), []byte(content), 0o644, renameio.IgnoreUmask()); err != nil {
			return fmt.Errorf("state directory %s: %w", string(l), err)
		}
	}
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{l.bodies(), 0o700},
		{l.path("stage"), 0o700},
		{l.path("quarantine"), 0o700},
		{l.path("files"), 0o755},
		{l.path("files", registry.Config.String()), 0o755},
		{l.path("files", registry.Serverset.String()), 0o755},
		{l.path("files", registry.Decider.String()), 0o755},
	} {
		err := os.Mkdir(d.path, d.mode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = os.Chmod(d.path, d.mode) // a umask must not hide the files from their readers
		}
		if err != nil {
			return fmt.Errorf("state directory %s: %w", string(l), err)
		}
	}
	return nil
}

// acquire takes the lock that keeps a second process out. The kernel lets go of it when the process ends, however it ends. On a
// file system that became read only, which is what ext4 does about a bad disk, readOnly says so and the store can still be read.
func (l layout) acquire() (file *os.File, readOnly, err error) {
	file, err = os.OpenFile(l.lock(), os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, unix.EROFS) {
		readOnly = fmt.Errorf("state directory %s: %w", string(l), err)
		file, err = os.Open(l.lock())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("state directory %s: %w", string(l), err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 20)
		n, _ := file.ReadAt(holder, 0)
		file.Close()
		return nil, nil, fmt.Errorf("state directory %s is in use by process %s: %w", string(l), strings.TrimSpace(string(holder[:n])), err)
	}
	if readOnly == nil {
		// Only for the words above, so a full disk does not matter.
		_ = file.Truncate(0)
		_, _ = file.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	return file, readOnly, nil
}

// syncPath makes the names in a directory durable.
func syncPath(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
