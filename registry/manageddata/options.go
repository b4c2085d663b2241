package manageddata

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// Options of one piece of managed data. The zero Options are good on a machine with a monitor.
type Options struct {
	// Dir is the tree with the files: a mount, any directory with config/ in it, or one with the files themselves. Empty means
	// $KINGPIN_MOUNT, then /var/kingpin, and while that is not there or does not answer the plain files in $KINGPIN_STATE/files, then
	// /var/lib/kingpin/files.
	Dir string

	// Check is asked about every version before it is believed, and about every change before it is written: func([]T) error for a
	// List[T], func(map[K]V) error for a Map, func(map[K][]V) error for a MappedList, func(T) error for JSON, func([]byte) error for Raw.
	// A version that fails keeps the last good one. Open refuses a function of another type.
	Check any

	// Duplicates keeps equal items in the lists of a MappedList; otherwise each is there once, the first.
	Duplicates bool

	// In shares one watch of the directory among all the data that is opened with it: OpenDir. Dir and Poll count for nothing then.
	In *Dir

	Changed func() // called after each new version can be read, by the one goroutine that reads: it must not wait for data

	Poll   time.Duration // how often to look at the file without being told, give or take a half; 0 is 10 s
	Logger *slog.Logger  // one line for each change of state; nil is silence
}

const (
	defaultMount = "/var/kingpin"
	defaultState = "/var/lib/kingpin"
)

// Dir is a tree whose configs are followed with one inotify instance, for applications that open many. Close it after them.
type Dir struct {
	root   string // the tree, without stand-in
	plain  bool   // it was named by the caller, who may write plain files in it
	follow *follow.Dir
	owned  bool // for one piece of data
	writes sync.WaitGroup
}

// OpenDir opens the tree that o.Dir says, for Options.In.
func OpenDir(o Options) (*Dir, error) {
	d := &Dir{root: o.Dir, plain: true}
	var stand []string
	if d.root == "" {
		state := os.Getenv("KINGPIN_STATE")
		if state == "" {
			state = defaultState
		}
		stand = []string{filepath.Join(state, "files", registry.Config.String())}
		d.root = os.Getenv("KINGPIN_MOUNT")
	} else {
		stand = []string{d.root}
	}
	if d.root == "" {
		d.root, d.plain = defaultMount, false
	}
	var err error
	d.follow, err = follow.OpenDir(follow.DirOptions{Poll: o.Poll, Logger: o.Logger}, d.configs(), stand...)
	return d, err
}

// configs is where the tree has its configs.
func (d *Dir) configs() string { return filepath.Join(d.root, registry.Config.String()) }

// Close ends the following of everything that was opened with it.
func (d *Dir) Close() error {
	ended := make(chan struct{})
	go func() {
		d.writes.Wait()
		close(ended)
	}()
	return errors.Join(d.follow.Close(), awaitWriter(d.root, ended))
}

// nameOf makes a name of a domain and a key. The old libraries write both in lower case.
func nameOf(domain, key string) (registry.Name, error) {
	name, err := registry.ParseName(strings.ToLower("config.manageddata." + domain + "." + key))
	if err == nil && !name.ManagedData() {
		err = fmt.Errorf("domain %q and key %q make no name of four parts: %w", domain, key, registry.ErrInvalid)
	}
	return name, err
}

// checkOf is Options.Check as what it must be.
func checkOf[T any](o Options) (func(T) error, error) {
	if o.Check == nil {
		return func(T) error { return nil }, nil
	}
	check, ok := o.Check.(func(T) error)
	if !ok {
		return nil, fmt.Errorf("Options.Check is a %T and should be a %T: %w", o.Check, check, registry.ErrInvalid)
	}
	return check, nil
}

var errClosed = errors.New("closed")
