package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// formerTime is how long what an earlier process has registered is remembered: longer than any session lives on.
const formerTime = 2 * time.Minute

// maxLedger bounds the file, in bytes.
const maxLedger = 8 << 20

// ledger is the nodes of the members that this machine has registered, in a file. When the process is killed, their session lives on
// for a while; the next process has each make room for its own, so that nobody is there twice. The file may be lost or old: then he
// is for a while.
type ledger struct {
	path    string
	log     *slog.Logger
	dirty   chan struct{} // holds one token while the file may be out of date
	started time.Time

	mu      sync.Mutex
	formers map[spot]string
}

// remembered is one entry of the file.
type remembered struct {
	Serverset registry.Name     `json:"serverset"`
	Endpoint  registry.Endpoint `json:"endpoint"`
	Node      string            `json:"node"`
}

func openLedger(path string, log *slog.Logger) *ledger {
	m := &ledger{path: path, log: log, dirty: make(chan struct{}, 1), started: time.Now(), formers: map[spot]string{}}
	if path == "" {
		return m
	}
	info, err := os.Stat(path)
	if err == nil && time.Since(info.ModTime()) > formerTime || err == nil && info.Size() > maxLedger {
		return m // their sessions are over
	}
	data, err := os.ReadFile(path)
	var entries []remembered
	if err == nil {
		err = json.Unmarshal(data, &entries)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("what was registered before is not known; it goes with its session", "error", err)
		}
		return m
	}
	for _, e := range entries {
		m.formers[spot{e.Serverset, e.Endpoint}] = e.Node
	}
	return m
}

// former is the node of a spot in an earlier life.
func (m *ledger) former(p spot) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.formers[p]
}

func (m *ledger) changed() { signal(m.dirty) }

// run keeps the file up to date until ctx is done, and then once more.
func (m *ledger) run(ctx context.Context, nodes func() map[spot]string) {
	refresh := time.NewTicker(formerTime / 4) // its time says that the sessions may live
	defer refresh.Stop()
	for {
		select {
		case <-m.dirty:
			m.save(nodes())
		case <-refresh.C:
			if now := nodes(); len(now) > 0 {
				m.save(now)
			}
		case <-ctx.Done():
			m.save(nodes())
			return
		}
	}
}

// save writes the present nodes, and those of an earlier life that nobody has claimed and that may still be there.
func (m *ledger) save(nodes map[spot]string) {
	if m.path == "" {
		return
	}
	m.mu.Lock()
	for p := range nodes {
		delete(m.formers, p)
	}
	if time.Since(m.started) > formerTime {
		clear(m.formers)
	}
	var entries []remembered
	for _, known := range []map[spot]string{m.formers, nodes} {
		for p, node := range known {
			entries = append(entries, remembered{p.serverset, p.endpoint, node})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(entries, func(a, b remembered) int { return strings.Compare(a.Node, b.Node) })
	if err := m.write(entries); err != nil {
		m.log.Warn("what is registered is not remembered; after a crash it is there twice for a moment", "error", err)
	}
}

// write does not wait for the disk: after a power failure there is no session to take over.
func (m *ledger) write(entries []remembered) error {
	data, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(m.path+".new", m.path)
}
