package zookeeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A publisher that is killed keeps the lock until its session ends, and nobody in the fleet can publish the name meanwhile. So each
// place in a queue is noted in a directory of this machine before it is taken: whoever is started after a death gives up what the
// dead one had. It is right to do so even if that one lives: a publish does not happen without its place, and takes another.

// noted matches the name of a note: what the name of its place begins with.
var noted = regexp.MustCompile(`^[0-9a-f]{32}$`)

// note notes a place that is about to be taken.
func (c *Client) note(p *place) {
	if c.options.Notes == "" {
		return
	}
	path := filepath.Join(c.options.Notes, p.id)
	err := os.WriteFile(path, []byte(p.dir+"\n"), 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(c.options.Notes, 0o700); err == nil {
			err = os.WriteFile(path, []byte(p.dir+"\n"), 0o600)
		}
	}
	if err != nil {
		c.options.Logger.Warn("place not noted; should this process be killed, others wait for its session to end", "path", p.dir, "err", err)
	}
}

// forget removes the note of a place that is given up.
func (c *Client) forget(p *place) {
	if c.options.Notes == "" || p == nil {
		return
	}
	if err := os.Remove(filepath.Join(c.options.Notes, p.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.options.Logger.Warn("note of a place not removed", "path", p.dir, "err", err)
	}
}

// left are the places that somebody before us has left behind.
func (c *Client) left() []debt {
	if c.options.Notes == "" {
		return nil
	}
	entries, err := os.ReadDir(c.options.Notes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.options.Logger.Warn("places that a dead publisher had are not known", "err", err)
	}
	var debts []debt
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(c.options.Notes, e.Name()))
		if err != nil || !noted.MatchString(e.Name()) {
			continue // it has just been removed, or is nobody's note
		}
		p := &place{id: e.Name()}
		dir, whole := strings.CutSuffix(string(text), "\n")
		if !whole || !strings.HasPrefix(dir, "/") || !strings.HasSuffix(dir, lockSuffix) {
			c.forget(p) // it was killed before it could take the place
			continue
		}
		p.dir = dir
		debts = append(debts, debt{place: p, session: anySession})
	}
	return debts
}
