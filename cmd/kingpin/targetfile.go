package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// targetFile is a file that a download replaces, as it was found.
type targetFile struct {
	path    string
	exists  bool
	data    []byte
	changed time.Time
}

// readTarget reads the file at path, if there is one.
func readTarget(path string, most int64) (targetFile, error) {
	t := targetFile{path: path}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return t, err
	}
	t.exists, t.changed = true, info.ModTime()
	if info.Size() > most {
		return t, nil // it is not what will be written, whatever it is
	}
	t.data, err = limited(f, most)
	return t, err
}

// same says whether the file holds data already: a config to the byte, a serverset the same endpoints.
func (t targetFile) same(data []byte, kind registry.Kind) bool {
	if !t.exists {
		return false
	}
	if kind == registry.Serverset {
		return maps.Equal(lineSet(t.data), lineSet(data))
	}
	return bytes.Equal(t.data, data)
}

// lineSet is the lines of a file that are not empty.
func lineSet(data []byte) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			set[line] = true
		}
	}
	return set
}

// replace writes data to the file as one step. Its time is later than that of what was there, also if the clock went back: programs
// of the old system pass over a file that is not.
func (t targetFile) replace(data []byte) (err error) {
	fresh, err := os.CreateTemp(filepath.Dir(t.path), "."+filepath.Base(t.path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", t.path, err)
			fresh.Close() // it goes, and how does not matter
			os.Remove(fresh.Name())
		}
	}()
	if _, err := fresh.Write(data); err != nil {
		return err
	}
	if err := fresh.Chmod(0o644); err != nil {
		return err
	}
	now := time.Now()
	if least := t.changed.Add(time.Millisecond); now.Before(least) {
		now = least
	}
	if err := os.Chtimes(fresh.Name(), now, now); err != nil {
		return err
	}
	if err := fresh.Sync(); err != nil {
		return err
	}
	if err := fresh.Close(); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), t.path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(t.path))
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
