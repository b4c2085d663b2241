package manageddata

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// draft is a version that is about to be replaced: its body, and the way to replace it only if it is still the current one. Close it, published or not.
type draft interface {
	Body() []byte
	Publish(body []byte, force bool) error
	Close()
}

// pin opens a name for a compare-and-set. In a mount opening it for reading and writing does it, in a plain directory a lock.
func (d *Dir) pin(name registry.Name) (draft, error) {
	dir := d.configs()
	if info, err := os.Stat(dir); d.plain && (err != nil || !info.IsDir()) {
		dir = d.root // the files themselves lie in it
	}
	path := filepath.Join(dir, string(name))
	file, err := openFile(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if mount(dir + "/..") { // it may be born by writing, or the mount says why not
			file, err = openFile(path, os.O_RDWR|os.O_CREATE)
		} else if d.plain {
			return pinPlain(dir, path)
		} else {
			return nil, fmt.Errorf("there is no mount at %s to write to: %w", d.root, registry.ErrUnreachable)
		}
	}
	if err != nil {
		return nil, reasoned(path, err)
	}
	if mounted(file) {
		return pinMounted(path, file)
	}
	file.Close()
	if !d.plain {
		return nil, fmt.Errorf("%s is no mount of KingPin, and plain files there are the monitor's: %w", d.root, registry.ErrUnreachable)
	}
	return pinPlain(dir, path)
}

// mount says whether there is a mount of KingPin at root, which no Clean must touch: a link may lead into a mount.
func mount(root string) bool {
	_, err := os.Stat(root + "/.status/pid")
	return err == nil
}

// mountedDraft is a private copy of a version, as the mount gives to each who opens a file for reading and writing.
type mountedDraft struct {
	path string
	file *os.File // nil once it is closed
	body []byte
}

func pinMounted(path string, file *os.File) (draft, error) {
	d := &mountedDraft{path: path, file: file}
	var err error
	if d.body, err = io.ReadAll(file); err != nil {
		d.Close()
		return nil, reasoned(path, err)
	}
	return d, nil
}

func (d *mountedDraft) Body() []byte { return d.body }

func (d *mountedDraft) Publish(body []byte, force bool) error {
	if force {
		if err := setAttribute(d.file, "user.kingpin.force", "1"); err != nil {
			return reasoned(d.path, err)
		}
	}
	if len(body) == 0 { // what is cut to zero before its first byte would be last writer wins
		if err := setAttribute(d.file, "user.kingpin.base", attribute(d.file, "user.kingpin.version")); err != nil {
			return reasoned(d.path, err)
		}
	}
	if _, err := d.file.WriteAt(body, 0); err != nil {
		return reasoned(d.path, err)
	}
	if len(body) < len(d.body) {
		if err := d.file.Truncate(int64(len(body))); err != nil {
			return reasoned(d.path, err)
		}
	}
	file := d.file
	d.file = nil
	if err := file.Close(); err != nil { // this is the compare-and-set
		return reasoned(d.path, err)
	}
	return nil
}

func (d *mountedDraft) Close() {
	if d.file != nil {
		d.file.Close()
	}
}

// plainDraft is a file of a directory that no monitor looks after.
type plainDraft struct {
	lock *os.File // the directory
	path string
	body []byte
	last time.Time // of its change
}

func pinPlain(dir, path string) (draft, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	d := &plainDraft{lock: lock, path: path}
	if err := lockFile(lock); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	info, err := os.Stat(path)
	if err == nil {
		d.last = info.ModTime()
		d.body, err = os.ReadFile(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *plainDraft) Body() []byte { return d.body }

func (d *plainDraft) Publish(body []byte, _ bool) error {
	temporary, err := os.CreateTemp(filepath.Dir(d.path), "."+filepath.Base(d.path)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(body)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Sync(), temporary.Close())
	if now := time.Now(); err == nil && !now.After(d.last) { // old libraries ignore a file whose time does not grow
		later := d.last.Add(time.Millisecond)
		err = os.Chtimes(temporary.Name(), later, later)
	}
	if err == nil {
		err = os.Rename(temporary.Name(), d.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

func (d *plainDraft) Close() { d.lock.Close() } // and with it the lock

// kinds are what the errnos of a mount mean.
var kinds = []struct {
	errno syscall.Errno
	err   error
}{
	{syscall.ESTALE, registry.ErrConflict},
	{syscall.EINVAL, registry.ErrInvalid},
	{syscall.EFBIG, registry.ErrTooLarge},
	{syscall.ENOENT, registry.ErrNotExist},
	{syscall.EPERM, registry.ErrNotExist}, // a name exists because somebody created it
	{syscall.EACCES, registry.ErrPermission},
	{syscall.EROFS, registry.ErrReadOnly},
	{syscall.EHOSTUNREACH, registry.ErrUnreachable},
	{syscall.ENOTCONN, registry.ErrUnreachable},
	{syscall.ETIMEDOUT, registry.ErrTimeout},
	{syscall.EIO, registry.ErrUnknown},
}

// reasoned is an error of a mount with its kind, and with the reason that the mount wrote down.
func reasoned(path string, err error) error {
	for _, k := range kinds {
		if !errors.Is(err, k.errno) {
			continue
		}
		if why := reason(path); why != "" && k.err != registry.ErrConflict {
			return fmt.Errorf("%s (%w): %w", why, err, k.err)
		}
		return fmt.Errorf("%w: %w", err, k.err)
	}
	if why := reason(path); errors.Is(err, syscall.EDQUOT) && why != "" {
		return fmt.Errorf("%s (%w)", why, err)
	}
	return err
}

// reason is in the first line of .error/config/NAME: why the last write was refused.
func reason(path string) string {
	dir := filepath.Dir(path)
	text, err := os.ReadFile(dir + "/../.error/" + filepath.Base(dir) + "/" + filepath.Base(path))
	if err != nil {
		return ""
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if why, ok := strings.CutPrefix(lines.Text(), "refused:"); ok {
			return strings.TrimSpace(why)
		}
	}
	return ""
}

// openFile does without the runtime's poller, which would ask the mount's server about each file for nothing.
func openFile(path string, flags int) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, 0o644)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, syscall.EINTR):
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// lockFile waits for the lock of an open file or directory.
func lockFile(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// awaitWriter waits for a publisher, but not for ever for one that a dead mount keeps.
func awaitWriter(name string, ended <-chan struct{}) error {
	const most = 15 * time.Second // a monitor publishes within 10 s or not at all
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	select {
	case <-ended:
		return nil
	case <-deadline.C:
		return fmt.Errorf("close %s: the mount does not answer, one goroutine still waits for it", name)
	}
}
