package disk

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/kingpinfs/kingpin/registry"
)

// Cache keeps bodies that were fetched once and may be wanted again, each under a number that its owner gave it. Each is a file: a line
// of JSON that tells about the body, then the body. It may be deleted at any time, as a whole or in part.
type Cache struct {
	dir  string
	most int64 // bytes

	mu     sync.Mutex
	loaded bool
	files  map[uint64]*cached
	size   int64
}

// cached is one file of the cache.
type cached struct {
	size  int64 // of the file
	start int64 // of the body in it; 0: not looked at yet
	used  time.Time
	held  int
}

// maxCacheHead bounds the line before a body, in bytes.
const maxCacheHead = 16 << 10

// cacheHead is the line before a body.
type cacheHead struct {
	SHA256 string          `json:"sha256"`
	About  json.RawMessage `json:"about"`
}

// NewCache makes a cache of at most so many bytes in a directory, which is made when it is needed.
func NewCache(dir string, most int64) *Cache {
	return &Cache{dir: dir, most: most, files: map[uint64]*cached{}}
}

func (c *Cache) path(id uint64) string { return filepath.Join(c.dir, fmt.Sprintf("%016x", id)) }

// Put keeps a body, and about, which is JSON. Bodies that nobody has used for the longest time make room for it.
func (c *Cache) Put(id uint64, about json.RawMessage, body []byte) error {
	head, err := json.Marshal(cacheHead{SHA256: fmt.Sprintf("%x", sha256.Sum256(body)), About: about})
	if err != nil {
		return err
	}
	if len(head) >= maxCacheHead {
		return fmt.Errorf("%d bytes about a body: %w", len(head), registry.ErrTooLarge)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	content := append(append(head, '\n'), body...)
	if err := renameio.WriteFile(c.path(id), content, 0o600); err != nil {
		return fmt.Errorf("keep an old version: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.load()
	f := c.files[id]
	if f == nil {
		f = &cached{}
		c.files[id] = f
	}
	c.size += int64(len(content)) - f.size
	f.size, f.start, f.used = int64(len(content)), int64(len(head))+1, time.Now()
	c.evict()
	return nil
}

// load finds what an earlier process has kept. c.mu is held.
func (c *Cache) load() {
	if c.loaded {
		return
	}
	c.loaded = true
	_ = eachName(c.dir, func(name string) {
		stamp, err := parseStamp(name)
		info, failed := os.Lstat(filepath.Join(c.dir, name))
		if err != nil || failed != nil || c.files[uint64(stamp)] != nil {
			return
		}
		c.files[uint64(stamp)] = &cached{size: info.Size(), used: info.ModTime()}
		c.size += info.Size()
	})
}

// evict deletes what was not used for the longest time, as far as nobody holds it. c.mu is held.
func (c *Cache) evict() {
	if c.size <= c.most {
		return
	}
	var ids []uint64
	for id, f := range c.files {
		if f.held == 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uint64) int { return c.files[a].used.Compare(c.files[b].used) })
	for _, id := range ids {
		if c.size <= c.most/2 { // half of it at once, so that this is rare
			return
		}
		c.drop(id)
	}
}

// drop deletes one file. c.mu is held.
func (c *Cache) drop(id uint64) {
	if f := c.files[id]; f != nil {
		c.size -= f.size
		delete(c.files, id)
	}
	_ = os.Remove(c.path(id))
}

// About is what was said about a body; ErrNotExist if it is not kept. A file whose body is not what was put is deleted.
func (c *Cache) About(id uint64) (json.RawMessage, error) {
	head, start, err := c.read(id)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(id)
		return nil, fmt.Errorf("%w: %w", err, registry.ErrNotExist)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.load()
	if f := c.files[id]; f != nil {
		f.start, f.used = start, time.Now()
	}
	return head.About, nil
}

func (c *Cache) read(id uint64) (head cacheHead, start int64, err error) {
	file, err := os.Open(c.path(id))
	if err != nil {
		return head, 0, err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, maxCacheHead)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return head, 0, err
	}
	start = int64(len(line))
	if err := json.Unmarshal(bytes.Clone(line), &head); err != nil {
		return head, 0, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return head, 0, err
	}
	if fmt.Sprintf("%x", hash.Sum(nil)) != head.SHA256 {
		return head, 0, registry.ErrChecksum
	}
	return head, start, nil
}

// Hold keeps a body from being evicted until as many calls of Release; false if it is not here.
func (c *Cache) Hold(id uint64) bool {
	if _, err := c.About(id); err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[id]
	if f != nil {
		f.held++
	}
	return f != nil
}

// Release ends a Hold. One of an earlier process is not known here.
func (c *Cache) Release(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.files[id]; f != nil {
		f.held = max(f.held-1, 0)
	}
}

// ReadAt reads from a body. Fewer bytes than asked for mean its end.
func (c *Cache) ReadAt(id uint64, buf []byte, off int64) (int, error) {
	c.mu.Lock()
	start := int64(0)
	if f := c.files[id]; f != nil {
		start = f.start
	}
	c.mu.Unlock()
	if start == 0 {
		if _, err := c.About(id); err != nil {
			return 0, err
		}
		c.mu.Lock()
		start = cmp.Or(c.files[id], &cached{}).start
		c.mu.Unlock()
	}
	file, err := os.Open(c.path(id))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	n, err := file.ReadAt(buf, start+off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
