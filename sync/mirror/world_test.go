package mirror

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/sync/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	web  registry.Dependency = "web.dep"
	api  registry.Dependency = "api.dep"
	spam registry.Name       = "config.manageddata.spam.blacklist"
	ham  registry.Name       = "config.manageddata.ham.whitelist"
	user registry.Name       = "discovery.user.prod"
)

// world is one real registry, and machines that follow it. It runs in a bubble of its own time, in which settled waits until
// nobody has anything left to do.
type world struct {
	*testing.T
	dir   string
	reg   *embedded.Registry
	feeds bool // machines do not see the registry's Changes
}

// plain hides that a registry has Changes.
// inWorld runs a story, with a registry that has one feed for all changes and with one that has feeds of names only.
func inWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	for _, kind := range []string{"changes", "feeds"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{T: t, dir: t.TempDir(), feeds: kind == "feeds"}
				w.openRegistry()
				t.Cleanup(func() { w.reg.Close() })
				story(w)
			})
		})
	}
}

func (w *world) openRegistry() {
	w.Helper()
	reg, err := embedded.Open(filepath.Join(w.dir, "registry.db"), embedded.Options{})
	w.must(err)
	w.reg = reg
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) is(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("got error %v, want one that is %v", err, want)
	}
}

// machine is one mirror on one disk, running.
type machine struct {
	*Mirror
	w      *world
	disk   *disk.Store
	wire   *wire
	log    *journal
	cancel context.CancelFunc
	ended  chan struct{}
}

// follows is the options of a machine that follows these.
func follows(deps ...registry.Dependency) Options { return Options{Dependencies: deps} }

// boot starts a machine. The same name has the same disk; it must have been halted before.
func (w *world) boot(name string, o Options) *machine {
	w.Helper()
	m := w.assemble(name, o)
	m.run()
	synctest.Wait()
	return m
}

// assemble is boot without running the mirror.
func (w *world) assemble(name string, o Options) *machine {
	w.Helper()
	m := &machine{w: w, wire: &wire{Registry: w.reg}, log: &journal{}}
	var err error
	m.disk, err = disk.Open(filepath.Join(w.dir, name), disk.Options{})
	w.must(err)
	o.Logger = slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Host, o.MaxVersions = cmp.Or(o.Host, name), cmp.Or(o.MaxVersions, -1)
	var reg Registry = m.wire
	if w.feeds {
		reg = plain{m.wire, m.wire, m.wire}
	}
	m.Mirror = New(reg, m.wire, m.disk, o)
	w.Cleanup(m.halt)
	return m
}

func (m *machine) run() {
	ctx, cancel := context.WithCancel(m.w.Context())
	m.cancel, m.ended = cancel, make(chan struct{})
	go func() {
		defer close(m.ended)
		if err := m.Mirror.Run(ctx); err != nil {
			m.w.Errorf("Run: %v", err)
		}
	}()
}

// halt ends the machine's mirror and closes its disk; what is on it stays.
func (m *machine) halt() {
	if m.cancel != nil {
		m.cancel()
		<-m.ended
		m.cancel = nil
	}
	m.w.must(m.disk.Close())
}

// has says whether the file is on disk with this content.
func (m *machine) has(file, content string) {
	m.w.Helper()
	synctest.Wait()
	got, ok := m.read(file)
	if !ok {
		m.w.Fatalf("%s is not on disk, want %q", file, content)
	}
	if got != content {
		m.w.Fatalf("%s is %q, want %q", file, got, content)
	}
}

func (m *machine) hasNot(file string) {
	m.w.Helper()
	synctest.Wait()
	if content, ok := m.read(file); ok {
		m.w.Fatalf("%s is on disk: %q", file, content)
	}
}

func (m *machine) read(file string) (string, bool) {
	m.w.Helper()
	e, ok := m.entry(file)
	if !ok {
		return "", false
	}
	body, err := m.disk.OpenBody(e.Stamp)
	m.w.must(err)
	defer body.Close()
	content, err := io.ReadAll(body)
	m.w.must(err)
	plain, err := os.ReadFile(filepath.Join(m.disk.Dir(), "files", file))
	m.w.must(err)
	if !bytes.Equal(plain, content) {
		m.w.Fatalf("plain file %s is %q, the version is %q", file, plain, content)
	}
	return string(content), true
}

func (m *machine) entry(file string) (disk.Entry, bool) {
	kind, name, _ := strings.Cut(file, "/")
	for _, k := range []registry.Kind{registry.Config, registry.Serverset, registry.Decider} {
		if k.String() == kind {
			return m.disk.Current(disk.File{Kind: k, Name: name})
		}
	}
	return disk.Entry{}, false
}

// isIn says whether a followed name is in this condition, and whether the reason holds these words.
func (m *machine) isIn(name registry.Name, want Condition, words ...string) {
	m.w.Helper()
	synctest.Wait()
	s, ok := m.Status(name)
	if !ok || s.Condition != want {
		m.w.Fatalf("%s is %q (%s), want %q", name, s.Condition, s.Reason, want)
	}
	for _, word := range words {
		if !strings.Contains(s.Reason, word) {
			m.w.Fatalf("%s is %s: %q, want %q in it", name, s.Condition, s.Reason, word)
		}
	}
}

// lists is what a dependency's directory shows, in order.
func (m *machine) lists(dep registry.Dependency, want ...registry.Edge) {
	m.w.Helper()
	synctest.Wait()
	dir, ok := m.disk.Graph().Dir(dep)
	if !ok {
		m.w.Fatalf("%s is not shown", dep)
	}
	var got []registry.Edge
	for _, link := range dir.Links {
		got = append(got, link.Edge)
	}
	if len(got) != len(want) {
		m.w.Fatalf("%s shows %v, want %v", dep, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			m.w.Fatalf("%s shows %v, want %v", dep, got, want)
		}
	}
}

// put publishes by somebody else: another machine, or the old system.
func (w *world) put(name registry.Name, content string) registry.Version {
	w.Helper()
	ctx := w.Context()
	state, err := w.reg.State(ctx, name.Pointer())
	w.must(err)
	if !state.Exists {
		w.must(w.reg.Create(ctx, name.Pointer()))
	}
	next := state.Version
	for err = registry.ErrExist; errors.Is(err, registry.ErrExist); { // somebody took the nanosecond
		next = registry.NextVersion(time.Now(), next)
		err = w.reg.Put(ctx, name.Pointer().Key(next), registry.Body{Data: []byte(content)})
	}
	w.must(err)
	_, err = w.reg.Advance(ctx, name.Pointer(), state.Version, next, nil)
	w.must(err)
	return next
}

// make registers names that were never written in a dependency, which is made if need be.
func (w *world) make(dep registry.Dependency, names ...registry.Name) {
	w.Helper()
	ctx := w.Context()
	if err := w.reg.CreateDependency(ctx, dep); !errors.Is(err, registry.ErrExist) {
		w.must(err)
	}
	for _, name := range names {
		for _, pointer := range []registry.Pointer{name.Pointer(), name.Metaconfig()} {
			if err := w.reg.Create(ctx, pointer); !errors.Is(err, registry.ErrExist) {
				w.must(err)
			}
		}
		w.must(w.reg.Link(ctx, dep, registry.Edge(name)))
	}
}

// join registers an endpoint until it is told to leave.
func (w *world) join(name registry.Name, endpoint registry.Endpoint) (leave func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.reg.Join(ctx, name, registry.Member{Endpoint: endpoint}); err != nil {
			w.Errorf("join: %v", err)
		}
	}()
	synctest.Wait()
	return func() { cancel(); <-done; synctest.Wait() }
}

// wire is the way from one machine to the registry and the bodies. It can be cut, and each call can be made to fail in its own way.
// unplug cuts the wire; the function mends it.
// through is a feed that reports a cut and waits until it is mended.
// PutIndex remembers what the embedded registry has no use for.
// journal is what a machine has logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

// count of the lines that hold all these words.
func (j *journal) count(words ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, line := range j.lines {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

// passes lets so much time go by.
func (w *world) passes(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// said says whether the machine has logged these words in one line, exactly so often.
func (m *machine) said(times int, words ...string) {
	m.w.Helper()
	synctest.Wait()
	if n := m.log.count(words...); n != times {
		m.w.Fatalf("logged %d lines with %q, want %d:\n%s", n, words, times, strings.Join(m.log.lines[max(0, len(m.log.lines)-20):], ""))
	}
}
