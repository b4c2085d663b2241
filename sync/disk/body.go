package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// fewBodies is how many bodies are made durable one by one. For more, one syncfs is cheaper, though it writes out what others left
// on the same file system too.
const fewBodies = 4

// writeBodies writes bodies under their stamps, and makes those durable that the journal does not carry. Nobody names them yet.
func (s *Store) writeBodies(bodies []put, contents []content) error {
	left := len(bodies) - len(contents)
	for _, o := range bodies {
		durable := left <= fewBodies && (len(contents) == 0 || len(o.data) > smallBody)
		if err := writeBody(s.dir.body(o.entry.Stamp), o.entry.Stamp, o.data, durable); err != nil {
			return fmt.Errorf("write body of %s: %w", o.entry.File, err)
		}
		s.step(stepBody)
	}
	if left == 0 {
		return nil
	}
	if left <= fewBodies {
		if err := s.bodies.Sync(); err != nil {
			return fmt.Errorf("sync bodies: %w", err)
		}
		return nil
	}
	if err := unix.Syncfs(int(s.bodies.Fd())); err != nil {
		return fmt.Errorf("sync bodies: %w", err)
	}
	return nil
}

// writeBody makes a file that never changes again. One of that name is the orphan of a crash, since stamps are not reused.
func writeBody(path string, stamp Stamp, data []byte, durable bool) (err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		if err = os.Remove(path); err == nil {
			file, err = os.OpenFile(path, flags, 0o644)
		}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil {
		return err
	} else if info.Mode().Perm() != 0o644 { // whatever the umask is: the plain tree is for everybody
		if err := file.Chmod(0o644); err != nil {
			return err
		}
	}
	t := unix.NsecToTimespec(int64(stamp))
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time of %s: %w", path, err)
	}
	if durable {
		return file.Sync()
	}
	return nil
}

// OpenBody opens the body of a version for reading. The bytes are checked the first time a version is opened that
// another process has written, and again when the file looks touched. A body that is missing or wrong goes to quarantine, the file is Damaged, and the error wraps
// registry.ErrChecksum; if an older version was good it is Current afterwards, under a new stamp.
func (s *Store) OpenBody(stamp Stamp) (*os.File, error) {
	for range 2 {
		s.mu.RLock()
		v := s.index.versions[stamp]
		s.mu.RUnlock()
		if v == nil {
			return nil, fmt.Errorf("body %s: %w", stamp, registry.ErrNotExist)
		}
		file, err := s.openChecked(s.dir.body(stamp), v)
		if err == nil || !damaging(err) {
			return file, err
		}
		if err := s.condemn(stamp, err); err != nil {
			return nil, err
		}
		// It was dropped meanwhile, or could be mended.
	}
	return nil, fmt.Errorf("body %s: %w", stamp, registry.ErrChecksum)
}

// openChecked opens a file and makes sure that it holds the bytes of a version.
func (s *Store) openChecked(path string, v *version) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := s.verify(file, v); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// verify makes sure, once, that a file holds the bytes of a version, and leaves it at its beginning.
func (s *Store) verify(file *os.File, v *version) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size, sum := v.entry.Size, v.entry.SHA256 // never change, so no lock
	if info.Size() != size || !info.Mode().IsRegular() {
		return fmt.Errorf("%s has %d bytes instead of %d: %w", file.Name(), info.Size(), size, registry.ErrChecksum)
	}
	touched := info.ModTime().UnixNano()
	if v.verified.Load() == touched {
		return nil
	}
	hash := sha256.New()
	// io.Copy by itself would make a buffer of 32 KB for each file, however small: 80 garbage collections for ten thousand.
	buf := make([]byte, min(size+1, 32<<10))
	if _, err := io.CopyBuffer(hash, struct{ io.Reader }{file}, buf); err != nil {
		return err
	}
	if registry.Checksum(hash.Sum(nil)) != sum {
		return fmt.Errorf("%s: %w", file.Name(), registry.ErrChecksum)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	v.verified.Store(touched)
	return nil
}

// damaging says whether an error of opening or reading a body means that the body is no good, as opposed to a passing trouble.
func damaging(err error) bool {
	return errors.Is(err, registry.ErrChecksum) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}
