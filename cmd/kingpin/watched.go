package main

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// news is what kingpin watch says of a name.
type news struct {
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Version   string    `json:"version"` // empty: it has none, as a serverset, or nobody can be asked
	Author    string    `json:"author"`
	Message   string    `json:"message"`
	Published time.Time `json:"published,omitzero"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"`
}

// watched is a name, what it is now and what of it was told.
type watched struct {
	target
	word string // that it was called by

	fresh  bool      // the first version counts as a change
	there  bool      // it has a version
	looked bool      // somebody has looked
	missed bool      // it was said that it is not there
	inode  inode     // of the file that state was read from
	state  string    // of the file now
	told   string    // the state that was told last
	due    time.Time // when the change is to be told; zero: there is none
}

// inode is what of a file changes whenever its content does.
type inode struct {
	number  uint64
	changed int64 // nanoseconds
	size    int64
}

// look says whether the name has changed since it was told.
func (n *watched) look(t *tree) bool {
	n.there = n.read(t)
	first := !n.looked
	n.looked = true
	if first && n.there && !n.fresh {
		n.told = n.state
	}
	if n.there && n.state == n.told {
		n.due = time.Time{} // it has changed back
	}
	return n.there && n.state != n.told
}

// read finds out the state of the file. One that was never written is not there yet, as far as the file tells.
func (n *watched) read(t *tree) bool {
	path := n.path(t.root)
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return false
	}
	now := inode{sys.Ino, info.ModTime().UnixNano(), info.Size()}
	if now == n.inode {
		return n.state != ""
	}
	state := ""
	version, err := xattr(path, "version")
	switch {
	case err != nil: // a plain file
		state = strconv.FormatInt(now.changed, 10)
	case n.dir == registry.Config.String():
		state = version
	default: // a version is that of the whole map, or there is none
		if state, err = xattr(path, "sha256"); err != nil {
			return false
		}
	}
	n.inode, n.state = now, state
	return state != ""
}

// tell is what is to be told now.
func (n *watched) tell(ctx context.Context, t *tree, inv *invocation) news {
	n.read(t) // it may have changed once more since it became due
	n.told, n.due = n.state, time.Time{}
	c := news{Name: n.String(), Path: n.path(t.root)}
	s := nameStatus{Path: c.Path}
	err := s.readFile()
	if err == nil && s.SHA256 == "" { // a plain file: the monitor knows
		s, err = t.stat(ctx, inv, n.target)
	}
	if err != nil {
		return c // it has gone again; what is known of it is its name
	}
	c.Version, c.Author, c.Message, c.Published, c.Size, c.SHA256 = s.Version, s.Author, s.Message, s.Published, s.Size, s.SHA256
	return c
}
