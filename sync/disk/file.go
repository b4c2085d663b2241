package disk

import (
	"fmt"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// File is one file of the tree.
type File struct {
	Kind registry.Kind
	Name string
}

// String is the path of the file in the tree: config/NAME.
func (f File) String() string { return f.Kind.String() + "/" + f.Name }

// maxName is the longest name that every Linux file system takes.
const maxName = 255

// validate refuses what could not be, or must not be, a file name below files/KIND: names come from the network.
func (f File) validate() error {
	switch {
	case f.Kind < registry.Config || f.Kind > registry.Decider:
		return fmt.Errorf("file of kind %d: %w", f.Kind, registry.ErrInvalid)
	case f.Name == "", f.Name[0] == '.', len(f.Name) > maxName, strings.ContainsAny(f.Name, "/\x00"), isCarrier(f):
		return fmt.Errorf("file name %.80q: %w", f.Name, registry.ErrInvalid)
	}
	return nil
}

// Stamp names one version of one file: the nanoseconds since 1970 at its commit, pushed forward where needed so that no two are
// equal and each is larger than all before it, over restarts and clock steps. It is the FUSE node id of the version and the mtime
// of its body, so it keeps clear of the small ids (below 2^32) and of bit 62, which marks drafts.
type Stamp uint64

// The range that a clock may put a stamp in: 2020 to 2096. A machine whose clock says otherwise still gets stamps that grow.
const (
	minStamp Stamp = 1577836800_000000000
	maxStamp Stamp = 4000000000_000000000
)

// Time is the stamp as the mtime that it is.
func (s Stamp) Time() time.Time { return time.Unix(0, int64(s)) }

// String is the name of the body's file: 16 hex digits.
func (s Stamp) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// after is the stamp for a commit at now, given the largest stamp before it.
func (s Stamp) after(now time.Time) Stamp {
	next := Stamp(max(now.UnixNano(), 0))
	return max(min(max(next, minStamp), maxStamp), s+1)
}

// Entry is one version of one file: everything but its bytes.
type Entry struct {
	File
	Stamp     Stamp
	Version   registry.Version
	Order     registry.Order
	Size      int64 // bytes
	SHA256    registry.Checksum
	Author    string
	Message   string
	Published time.Time // by the publisher's clock, in UTC
	Origin    uint64    // the Commit's; 0 after a restart
}

// Commit asks for one file to have one version as its current one.
type Commit struct {
	File
	Version   registry.Version
	Order     registry.Order
	Body      []byte // must not change until Commit returns
	Author    string
	Message   string
	Published time.Time
	Origin    uint64 // who asked, in the caller's own numbers: carried to the Entry, never stored
}
