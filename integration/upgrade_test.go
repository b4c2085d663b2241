package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUpgradeUnderLoad: the server is replaced by another binary again and again. No read fails, open files and mappings go
// on, both watches hear of every version, and a write that is refused, which is rare, is one that the writer was told of.
func TestUpgradeUnderLoad(t *testing.T) { upgradeUnderLoad(t, rounds(5, 50)) }

// TestUpgradeKillsUnderLoad: the server, and then the poker, are killed again and again under the same load. What the killed
// server had acknowledged is there, and what is not there returned an error.
func TestUpgradeKillsUnderLoad(t *testing.T) { killUnderLoad(t, rounds(5, 200), rounds(5, 50)) }

// TestUpgradeToWhatCannotServe: an upgrade to something that is no server says so, and the old one serves on.
func TestUpgradeToWhatCannotServe(t *testing.T) {
	l := startLoad(t)
	before, err := l.m.Server()
	if err != nil {
		t.Fatal(err)
	}
	for _, binary := range []string{"/bin/false", filepath.Join(l.m.State, "nothing")} {
		out := result(t, l.m.Command(t.Context(), "upgrade", "--binary", binary))
		if out.code != 1 || !strings.Contains(out.stderr, "not upgraded") {
			t.Errorf("upgrade to %s: %v", binary, out)
		}
		l.progress(t)
		if now, err := l.m.Server(); err != nil || now != before {
			t.Errorf("after an upgrade to %s the server is %d, not %d: %v", binary, now, before, err)
		}
	}
	if l.finish(t); l.refused.Load() != 0 {
		t.Errorf("%d writes were refused", l.refused.Load())
	}
}

// rounds is how often something is done, here or where there is time: in make soak, or with KINGPIN_SOAK.
func rounds(few, many int) int {
	if soaking || os.Getenv("KINGPIN_SOAK") != "" {
		return many
	}
	return few
}

func upgradeUnderLoad(t *testing.T, upgrades int) {
	t.Helper()
	l := startLoad(t)
	other := filepath.Join(directory(t), "kingpin")
	content := read(t, kingpinBinary(t))
	if err := os.WriteFile(other, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range upgrades {
		old, err := l.m.Server()
		if err != nil {
			t.Fatal(err)
		}
		binary := []string{other, kingpinBinary(t)}[n%2]
		kingpin(t, l.m, "upgrade", "--timeout", readyLimit.String(), "--binary", binary)
		pid, err := l.m.Server()
		if err != nil || pid == old {
			t.Fatalf("after upgrade %d the server is %d, as before: %v", n, pid, err)
		}
		if runs, wants := stat(t, fmt.Sprintf("/proc/%d/exe", pid)), stat(t, binary); !os.SameFile(runs, wants) {
			t.Fatalf("after upgrade %d the server is not of %s", n, binary)
		}
		l.progress(t)
	}
	l.finish(t)
	lost := l.refused.Load()
	if lost > 1+int64(upgrades)/10 { // without the server's waiting for open drafts it is more than every second time
		t.Errorf("%d writes were refused in %d upgrades", lost, upgrades)
	}
	t.Logf("%d upgrades; %d writes were refused, the last one: %v", upgrades, lost, l.refusal)
}

func killUnderLoad(t *testing.T, servers, pokers int) {
	t.Helper()
	l := startLoad(t)
	kill := func(what string, pid func() (int, error)) {
		old, err := pid()
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another "+what+" has taken over", func() bool {
			now, err := pid()
			return err == nil && now != old
		})
		l.progress(t)
	}
	for range servers {
		kill("server", l.m.Server)
	}
	lost := l.refused.Load()
	for range pokers {
		kill("poker", func() (int, error) { return poker(l.m) })
	}
	l.finish(t)
	if again := l.refused.Load() - lost; again != 0 {
		t.Errorf("%d writes were refused while only pokers died", again)
	}
	if lost > int64(servers) {
		t.Errorf("%d writes were refused in %d deaths of the server", lost, servers)
	}
	t.Logf("%d deaths of the server, %d of the poker; %d writers were told that their draft died", servers, pokers, lost)
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

var errNoPoker = errors.New("there is no poker")

// poker is the pid of the monitor's poker.
func poker(m *Monitor) (int, error) {
	for _, pid := range m.Processes() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && slices.Contains(strings.Split(string(line), "\x00"), "__poker") {
			return pid, nil
		}
	}
	return 0, errNoPoker
}

// load is all that programs do with one config, at once: processes that open, read and close it, one that holds old versions open
// and mapped, watches on the file and on its directory, and a writer who checks each version that was acknowledged.
type load struct {
	m       *Monitor
	path    string
	readers []*reader // with the holder
	holder  *reader

	onFile, onDirectory *watch

	over           atomic.Bool
	done           chan struct{}
	acked, refused atomic.Int64

	// The writer's, until done.
	longest time.Duration
	wrong   error
	refusal error // the last one
}

func startLoad(t *testing.T) *load {
	t.Helper()
	const name = "config.manageddata.upgrade.load"
	m := monitor(t)
	kingpin(t, m, "create", name)
	l := &load{m: m, path: m.Path("config", name), done: make(chan struct{})}
	if err := os.WriteFile(l.path, numberedBody(0), 0o644); err != nil {
		t.Fatal(err)
	}
	l.onFile = inotifywait(t, "%w", "close_write", l.path)
	l.onDirectory = inotifywait(t, "%w%f", "close_write", filepath.Dir(l.path)+"/")
	l.holder = startRole(t, "hold", l.path, "old versions")
	l.readers = []*reader{startReader(t, l.path, "to its end"), startReader(t, l.path, "by mmap"), l.holder}
	go func() {
		defer close(l.done)
		l.wrong = l.write()
	}()
	t.Cleanup(func() {
		l.over.Store(true)
		<-l.done
	})
	l.progress(t)
	return l
}

// write publishes number after number. One that was acknowledged is read back at once, and heard of before the next.
func (l *load) write() error {
	last := 0
	for n := 1; !l.over.Load(); n++ {
		l.onFile.drain()
		l.onDirectory.drain()
		began := time.Now()
		refused := os.WriteFile(l.path, numberedBody(n), 0o644)
		l.longest = max(l.longest, time.Since(began))
		content, err := os.ReadFile(l.path)
		if err != nil {
			return err
		}
		is, err := bodyNumber(content)
		switch {
		case err != nil:
			return err
		case refused != nil && (is < last || is > n):
			return fmt.Errorf("number %d was acknowledged, number %d was not (%w), and the file holds %d", last, n, refused, is)
		case refused != nil:
			l.refused.Add(1)
			l.refusal = refused
			continue
		case is != n:
			return fmt.Errorf("number %d was acknowledged, and the file holds %d", n, is)
		}
		last = n
		for _, w := range []*watch{l.onFile, l.onDirectory} {
			if !w.hears(l.path) {
				return fmt.Errorf("%s has not heard of number %d", w.what, n)
			}
		}
		l.acked.Add(1)
	}
	return nil
}

// progress waits until the writer has published once more.
func (l *load) progress(t *testing.T) {
	t.Helper()
	was := l.acked.Load()
	eventually(t, "the writer gets on", func() bool {
		select {
		case <-l.done:
			t.Fatalf("the writer has ended: %v", l.wrong)
		default:
		}
		return l.acked.Load() > was
	})
}

// finish ends the load and says how it went.
func (l *load) finish(t *testing.T) {
	t.Helper()
	eventually(t, "more than one version is held", func() bool {
		select {
		case <-l.done: // it is wrong already
			return true
		default:
			return l.holder.says(sawAnother)
		}
	})
	l.over.Store(true)
	<-l.done
	if l.wrong != nil {
		t.Errorf("writer: %v", l.wrong)
	}
	var longest time.Duration
	for _, r := range l.readers {
		s := r.finish(t)
		if s.Versions < 2 {
			t.Errorf("read %s: saw %d versions, which proves nothing", r.mode, s.Versions)
		}
		longest = max(longest, s.Longest)
	}
	t.Logf("%d versions published and heard of; the longest wait of a reader %v, of a writer %v",
		l.acked.Load(), longest.Round(time.Millisecond), l.longest.Round(time.Millisecond))
}

// drain forgets what was heard so far.
func (w *watch) drain() {
	for {
		select {
		case <-w.lines:
		default:
			return
		}
	}
}

// hears waits for an event that is line.
func (w *watch) hears(line string) bool {
	deadline := time.After(patience)
	for {
		select {
		case got := <-w.lines:
			if got == line {
				return true
			}
		case <-deadline:
			return false
		}
	}
}

// holding is one version of a file, open and mapped.
type holding struct {
	file   *os.File
	mapped []byte
	number int
}

func hold(path string) (*holding, error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	h := &holding{file: f}
	if h.mapped, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	h.number, err = bodyNumber(bytes.Clone(h.mapped))
	return h, err
}

func (h *holding) release() {
	_ = unix.Munmap(h.mapped)
	h.file.Close()
}

// look reads the version again by both ways, without what the kernel may have kept of it.
func (h *holding) look() error {
	if err := errors.Join(unix.Madvise(h.mapped, unix.MADV_DONTNEED), unix.Fadvise(int(h.file.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		return err
	}
	content := make([]byte, len(h.mapped))
	if _, err := h.file.ReadAt(content, 0); err != nil {
		return err
	}
	for _, seen := range [][]byte{content, bytes.Clone(h.mapped)} {
		if n, err := bodyNumber(seen); err != nil || n != h.number {
			return fmt.Errorf("%w: held number %d and it shows %d: %w", errTorn, h.number, n, err)
		}
	}
	return nil
}

// holdRole opens and maps versions of PATH, and looks at all of them until its standard input is closed.
func holdRole(args []string) error {
	const most, between = 12, 20
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	var s sightings
	var held []*holding
	for round := 0; !over.Load(); round++ {
		if len(held) < most && round%between == 0 {
			h, err := hold(args[0])
			if err != nil {
				s.wrong(&s.Failed, "hold: %v", err)
				continue
			}
			if len(held) > 0 && held[len(held)-1].number == h.number { // a slow writer
				h.release()
				continue
			}
			if held = append(held, h); len(held) == 2 {
				fmt.Println(sawAnother)
			}
			s.Versions++
		}
		for _, h := range held {
			began := time.Now()
			if err := h.look(); errors.Is(err, errTorn) {
				s.wrong(&s.Torn, "%v", err)
			} else if err != nil {
				s.wrong(&s.Failed, "number %d: %v", h.number, err)
			}
			s.Reads++
			s.Longest = max(s.Longest, time.Since(began))
		}
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}
