package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

const (
	format         = "1"             // of the file; a reader refuses any other
	defaultTimeout = 2 * time.Second // long enough for a predecessor that is being killed
)

// The buckets of the file. Every value ends in a checksum, see seal.
var (
	aboutBucket        = []byte("registry")     // format -> 1
	nodesBucket        = []byte("nodes")        // pointer -> node; its sequence is the ceiling of Order
	dependenciesBucket = []byte("dependencies") // dependency -> order of its last change
	edgesBucket        = []byte("edges")        // dependency, 0, edge -> nothing
	bodiesBucket       = []byte("bodies")       // key -> header of a body; its sequence numbers the bodies
	dataBucket         = []byte("data")         // number of the body, number of the chunk -> bytes

	buckets = [][]byte{aboutBucket, nodesBucket, dependenciesBucket, edgesBucket, bodiesBucket, dataBucket}

	formatKey = []byte("format")
)

// Open opens the registry in the file at path and creates it if there is none; its directory must exist. ErrInUse,
// ErrDamaged, fs.ErrNotExist, registry.ErrPermission and registry.ErrReadOnly tell what is wrong.
func Open(path string, o Options) (*Registry, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if err := ensure(path, o); err != nil {
		return nil, err
	}
	r := &Registry{
		path:     path,
		logger:   o.Logger,
		token:    make(chan struct{}, 1),
		closing:  make(chan struct{}),
		bells:    make(map[registry.Pointer]*bell),
		watchers: make(map[*watcher]struct{}),
		turns:    make(map[registry.Pointer]*turn),
		sets:     make(map[registry.Name]*set),
	}
	var err error
	if r.db, r.file, err = openFile(path, o.Timeout); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// ensure creates the file whole under another name and links it into place, so that an empty file is never the trace of a
// crash but always damage: taking it for a new registry would forget every name without a word.
func ensure(path string, o Options) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("registry file %s is a %v, not a file: %w", path, info.Mode().Type(), registry.ErrInvalid)
	case err == nil && info.Size() == 0:
		return damaged(path, "it is empty")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fileError(path, err)
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".new-")
	if err != nil {
		return fileError(path, err)
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return fileError(path, err)
	}
	if err := initialise(tmp.Name(), o); err != nil {
		return fmt.Errorf("new registry file for %s: %w", path, err)
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fileError(path, err)
	}
	return syncDir(dir)
}

func initialise(path string, o Options) error {
	db, _, err := openFile(path, o.Timeout)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(aboutBucket).Put(formatKey, seal(formatKey, []byte(format)))
	})
	return errors.Join(err, db.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openFile is bolt.Open that gives the file back whatever happens, bbolt's panics included.
func openFile(path string, timeout time.Duration) (db *bolt.DB, file *os.File, err error) {
	err = guard(path, func() error {
		var err error
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      timeout,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				var err error
				file, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
				return file, err
			},
		})
		return fileError(path, err)
	})
	if err != nil && file != nil {
		release(file) // again, unless bbolt panicked
	}
	return db, file, err
}

// release unlocks a file that bbolt cannot close. Closing it alone would not: the memory map holds it open.
func release(file *os.File) error {
	return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
}

// fileError puts into words what the operating system or bbolt says when a file cannot be opened.
func fileError(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("registry file %s %w%s: it has one owner at a time, stop that one first", path, ErrInUse, owner(path))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("registry file %s: its directory must exist: %w", path, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("registry file %s: %w: %w", path, registry.ErrReadOnly, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("registry file %s: %w: %w", path, registry.ErrPermission, err)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(*os.LinkError)), errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("registry file %s: %w", path, err)
	}
	return damaged(path, err)
}

// owner names the process that has locked the file, if this machine shows it.
func owner(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	// 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF, see proc_locks(5)
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for line := range strings.Lines(string(locks)) {
		if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && f[5] == file {
			return ", pid " + f[4]
		}
	}
	return ""
}
