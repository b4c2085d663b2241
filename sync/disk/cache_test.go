package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

func keep(t *testing.T, c *Cache, id uint64, body string) {
	t.Helper()
	if err := c.Put(id, json.RawMessage(fmt.Sprintf(`{"number":%d}`, id)), []byte(body)); err != nil {
		t.Fatal(err)
	}
}

func kept(t *testing.T, c *Cache, id uint64, body string) {
	t.Helper()
	about, err := c.About(id)
	if want := fmt.Sprintf(`{"number":%d}`, id); err != nil || string(about) != want {
		t.Errorf("about %d: %s, %v", id, about, err)
	}
	buf := make([]byte, len(body)+10)
	if n, err := c.ReadAt(id, buf, 0); err != nil || string(buf[:n]) != body {
		t.Errorf("%d holds %q, %v, want %q", id, buf[:n], err, body)
	}
	if n, err := c.ReadAt(id, buf, int64(len(body))); n != 0 || err != nil {
		t.Errorf("%d has %d bytes behind its end, %v", id, n, err)
	}
}

func TestCacheOutlivesItsProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	keep(t, NewCache(dir, 1<<20), 1<<63|7, "a body\nof two lines")
	kept(t, NewCache(dir, 1<<20), 1<<63|7, "a body\nof two lines")
	buf := make([]byte, 6)
	if n, err := NewCache(dir, 1<<20).ReadAt(1<<63|7, buf, 2); n != 6 || string(buf) != "body\no" || err != nil {
		t.Errorf("read %d: %q, %v", n, buf, err)
	}
	if _, err := NewCache(dir, 1<<20).About(8); !errors.Is(err, registry.ErrNotExist) {
		t.Errorf("about what is not there: %v", err)
	}
}

func TestCacheMakesRoom(t *testing.T) {
	c := NewCache(t.TempDir(), 100_000)
	body := string(bytes.Repeat([]byte("x"), 10_000))
	keep(t, c, 1, body)
	if !c.Hold(1) {
		t.Fatal("not kept")
	}
	for id := range uint64(50) {
		keep(t, c, id+2, body)
	}
	kept(t, c, 1, body)
	kept(t, c, 51, body)
	if files, _ := os.ReadDir(c.dir); len(files) > 10 {
		t.Errorf("%d bodies of 10 KB in a cache of 100 KB", len(files))
	}
	c.Release(1)
	for id := range uint64(50) {
		keep(t, c, id+100, body)
	}
	if _, err := c.About(1); !errors.Is(err, registry.ErrNotExist) {
		t.Errorf("what nobody holds is still there: %v", err)
	}
}

func TestCacheHandsOutNothingThatWentBad(t *testing.T) {
	c := NewCache(t.TempDir(), 1<<20)
	for id, spoil := range []func(path string, data []byte) error{
		func(path string, data []byte) error {
			return os.WriteFile(path, append(data[:len(data)-1], 'X'), 0o600)
		},
		func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)-1], 0o600) },
		func(path string, data []byte) error { return os.WriteFile(path, nil, 0o600) },
		func(path string, data []byte) error { return os.WriteFile(path, []byte("{}\nno head"), 0o600) },
		func(path string, data []byte) error { return os.Remove(path) },
	} {
		keep(t, c, uint64(id), "a good body")
		data, err := os.ReadFile(c.path(uint64(id)))
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(c.path(uint64(id)), data); err != nil {
			t.Fatal(err)
		}
		if c.Hold(uint64(id)) {
			t.Errorf("body %d went bad and is handed out", id)
		}
		keep(t, c, uint64(id), "a good body")
		kept(t, c, uint64(id), "a good body")
	}
}
