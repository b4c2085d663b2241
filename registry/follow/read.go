package follow

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// settle is how long a file that is not of KingPin must have been left alone before it is believed: it may be written in place, and would be
// read half.
const settle = 50 * time.Millisecond

// content is a file as it was read.
type content struct {
	path    string
	data    []byte
	sum     checksum
	version string // of KingPin, which never changes a version's bytes; empty elsewhere
	info    fs.FileInfo
	at      time.Time // when the reading began
	torn    bool      // it was written meanwhile
	link    string    // the directory of the file that a symbolic link leads to; empty if it is none
	mounted bool      // the file is a mount of its own: its directory hears nothing of it, and its stat may be old
}

// same says whether info is what it was when c was read, so that reading it again would show nothing new.
func (c *content) same(info fs.FileInfo) bool {
	return c != nil && !c.torn && !c.mounted && os.SameFile(c.info, info) && c.info.Size() == info.Size() &&
		c.info.ModTime().Equal(info.ModTime()) && c.at.Sub(info.ModTime()) > settle // a clock's tick may hold two writes
}

// settled says whether nobody seems to be writing it any more.
func (c *content) settled() bool {
	if c.torn {
		return false
	}
	age := c.at.Sub(c.info.ModTime())
	return c.version != "" || age >= settle || age < -time.Second // a clock far ahead says nothing
}

var errUnchanged = errors.New("unchanged")

// read reads the file at path unless it is still what last is; force reads it anyway.
func read(path string, limit int64, last *content, force bool) (*content, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !force && last.same(info) {
		return nil, errUnchanged
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("%s is no regular file but %s", path, info.Mode().Type())
	}
	f, err := open(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer f.Close()
	c := &content{path: path, at: time.Now()}
	if c.info, err = f.Stat(); err != nil {
		return nil, err
	}
	if c.info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, c.info.Size(), limit)
	}
	buffer := bytes.NewBuffer(make([]byte, 0, c.info.Size()+bytes.MinRead))
	if _, err := buffer.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if c.data = buffer.Bytes(); int64(len(c.data)) > limit {
		return nil, fmt.Errorf("%s grew while it was read, at most %d bytes are", path, limit)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c.torn = after.Size() != c.info.Size() || !after.ModTime().Equal(c.info.ModTime())
	c.sum = sha256.Sum256(c.data)
	c.version = version(f)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		c.mounted = otherDevice(filepath.Dir(real), c.info)
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			c.link = filepath.Dir(real)
		}
	}
	return c, nil
}

// open does without the runtime's poller: registering a file of a FUSE file system there asks the server, for nothing.
func open(path string) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case !errors.Is(err, syscall.EINTR):
			return nil, err
		}
	}
}

// gone says of an error that it is not the file's but the directory's: a mount whose server is dead, or no directory at all.
func gone(dir string, err error) bool {
	if errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ENOTDIR) {
		return true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = os.Stat(dir)
	return err != nil
}
