package disk

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// Options of a Store. The zero value works.
type Options struct {
	Logger   *slog.Logger  // default: none
	Keep     int           // old versions of a file that Expired spares; default 3, negative: none
	LockWait time.Duration // how long to wait for a process that is just ending to let go of the directory; default 1 s, negative: not at all

	now  func() time.Time // default: time.Now
	step func(step)       // called at each step of a write; tests end the store there
	sync time.Duration    // default: syncDelay
}

// Store is an open state directory. All methods may be called by many goroutines. Those that only look never wait for the disk.
type Store struct {
	dir    layout
	log    *slog.Logger
	now    func() time.Time
	step   func(step)
	delay  time.Duration // how long a body may be durable in the journal only
	lock   *os.File
	bodies *os.File // the directory, to make names in it durable

	waiting struct {
		sync.Mutex
		requests []*request
	}

	writing sync.Mutex // held by whoever changes the directory, while it does
	journal journal
	lagging map[File]struct{} // the plain file is not what the index says

	unsynced unsynced

	readOnly error         // why nothing can be written; set by Open
	kick     chan struct{} // there is something for upkeep
	repaired chan struct{} // closed when upkeep has put right what a crash left
	kept     chan struct{} // closed when upkeep has ended

	mu     sync.RWMutex
	index  *index
	feeds  map[*feed]struct{}
	heard  []op // applied to the index, not yet in the journal
	closed bool
	done   chan struct{} // closed with the store
}

// Open opens a state directory, or makes one, and reads its journal. What a crash left half done is gone afterwards. It refuses
// a directory that another process has open, that a newer program wrote, or that is not KingPin's, and leaves it as it was.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{
		dir:     layout(dir),
		log:     o.Logger,
		now:     o.now,
		step:    o.step,
		delay:   cmp.Or(o.sync, syncDelay),
		lagging: map[File]struct{}{},
		feeds:   map[*feed]struct{}{},
		done:    make(chan struct{}),

		kick:     make(chan struct{}, 1),
		repaired: make(chan struct{}),
		kept:     make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Keep == 0 {
		o.Keep = 3
	}
	s.index = newIndex(o.Keep)
	if s.now == nil {
		s.now = time.Now
	}
	if s.step == nil {
		s.step = func(step) {}
	}
	if o.LockWait == 0 {
		o.LockWait = time.Second
	}
	if err := s.open(o.LockWait); err != nil {
		s.release()
		return nil, err
	}
	go s.upkeep()
	return s, nil
}

func (s *Store) open(wait time.Duration) error {
	if err := os.MkdirAll(string(s.dir), 0o755); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if _, err := s.dir.check(); err != nil {
		return err // before anything is touched
	}
	var err error
	for deadline := time.Now().Add(wait); ; time.Sleep(2 * time.Millisecond) {
		s.lock, s.readOnly, err = s.dir.acquire()
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
	}
	exists, err := s.dir.check()
	if err != nil {
		return err // somebody else had it until now
	}
	if err := s.dir.create(exists); err != nil {
		return err
	}
	if s.bodies, err = os.Open(s.dir.bodies()); err != nil {
		return fmt.Errorf("state directory %s: %w", s.dir, err)
	}
	err = s.load(exists)
	if err == nil && !exists {
		err = syncPath(string(s.dir))
	}
	if err != nil {
		return fmt.Errorf("state directory %s: %w", s.dir, err)
	}
	return nil
}

// load reads the journal into the index.
func (s *Store) load(exists bool) error {
	file, err := os.OpenFile(s.dir.journal(), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) {
		file, err = os.Open(s.dir.journal())
	}
	if err != nil {
		return err
	}
	s.journal.file = file
	d := &decoder{intern: map[string]string{}}
	var contents []content
	found, err := readJournal(file, func(payload []byte, end int64) error {
		ops, err := d.ops(payload)
		for _, o := range ops {
			o.apply(s.index)
			switch o := o.(type) {
			case complete:
				s.journal.base, contents = end, nil
			case content:
				contents = append(contents, o)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	s.index.graph = newGraph(s.index.graph.Dirs)
	s.index.told = newGraph(s.index.told.Dirs)
	s.journal.size = found.end
	whole := found.end > 0 && found.damaged == 0 && found.torn == 0
	var lost []put
	if !whole && exists {
		lost = s.unlisted() // before restore, which puts plain files in place
	}
	for _, o := range lost {
		o.apply(s.index)
		s.unsynced.add(o.entry.Stamp, 0, s.delay)
	}
	s.restore(contents)
	if whole || !exists {
		return nil
	}
	if found.damaged > 0 || len(lost) > 0 {
		return s.adopt(len(lost))
	}
	if found.torn > 0 && s.readOnly == nil {
		s.log.Info("journal ends in a write that a crash cut short", "path", s.dir.journal(), "bytes", found.torn)
		return file.Truncate(found.end)
	}
	return nil
}

// release lets go of the directory.
func (s *Store) release() {
	for _, file := range []*os.File{s.journal.file, s.bodies, s.lock} {
		if file != nil {
			file.Close()
		}
	}
}

// Close waits for writes that are under way and lets go of the directory. Feeds end; later writes fail.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.record()
	close(s.done)
	s.writing.Unlock()
	<-s.kept
	s.writing.Lock()
	s.release()
	return nil
}

// Dir is the state directory.
func (s *Store) Dir() string { return string(s.dir) }

// Current is the version of a file that readers are to see.
func (s *Store) Current(f File) (Entry, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v := s.index.current(f); v != nil {
		return v.entry, true
	}
	return Entry{}, false
}

// ByStamp is a version whose body is here, current or superseded.
func (s *Store) ByStamp(stamp Stamp) (Entry, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v := s.index.versions[stamp]; v != nil {
		return v.entry, true
	}
	return Entry{}, false
}

// List is the current versions of one kind, sorted by name.
func (s *Store) List(kind registry.Kind) []Entry {
	if !slices.Contains(kinds, kind) {
		return nil
	}
	s.mu.RLock()
	list := s.index.sorted[kind]
	if list != nil {
		defer s.mu.RUnlock()
		return appendEntries(make([]Entry, 0, len(list)), list)
	}
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendEntries(nil, s.index.list(kind))
}
