package fs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// children are the pids of the keeper's children whose command line holds text, or does not. While one of them is being started, it
// is a copy of the keeper and has its command line.
func (m *machine) children(text string, holds bool) (pids []int) {
	m.t.Helper()
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.keeper))
	for _, thread := range threads {
		all, _ := os.ReadFile(thread) // an error: the thread has ended
		for _, field := range strings.Fields(string(all)) {
			line, err := os.ReadFile("/proc/" + field + "/cmdline")
			if err != nil || len(line) == 0 || strings.Contains(string(line), m.mount+"\x00"+m.state) {
				continue
			}
			if pid, _ := strconv.Atoi(field); strings.Contains(string(line), text) == holds {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killServer kills the process that serves the mount, as soon as there is one: its predecessor may have just died.
func (m *machine) killServer() {
	m.t.Helper()
	eventually(m.t, "there is a server to kill", func() bool {
		pids := m.children(m.state, true)
		return len(pids) == 1 && syscall.Kill(pids[0], syscall.SIGKILL) == nil
	})
}

// runHolder opens and maps a file again and again, keeps the last few, and checks that none ever changes.
func runHolder(path string, end <-chan struct{}) error {
	type held struct {
		file    *os.File
		mapped  []byte
		content []byte
	}
	var all []held
	defer func() {
		for _, h := range all {
			syscall.Munmap(h.mapped)
			h.file.Close()
		}
	}()
	for {
		select {
		case <-end:
			fmt.Println(0, len(all))
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return err
		}
		mapped, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("mmap of %d bytes: %w", info.Size(), err)
		}
		all = append(all, held{file, mapped, bytes.Clone(mapped)})
		if len(all) > 20 {
			syscall.Munmap(all[0].mapped)
			all[0].file.Close()
			all = all[1:]
		}
		for _, h := range all {
			buf := make([]byte, len(h.content)+1)
			n, err := h.file.ReadAt(buf, 0)
			if !bytes.Equal(buf[:n], h.content) || !bytes.Equal(h.mapped, h.content) {
				return fmt.Errorf("an open file changed: %q, mapped %q, was %q: %v", buf[:n], h.mapped, h.content, err)
			}
		}
	}
}

// runWriter publishes 1, 2, 3... and prints what was acknowledged last. A publication that returned an error may have happened
// or not; one that returned success is there, under name.
func runWriter(path, name string, end <-chan struct{}) error {
	acknowledged, failed := 0, 0
	for n := 1; ; n++ {
		select {
		case <-end:
			fmt.Println(0, acknowledged, failed)
			return nil
		default:
		}
		if err := os.WriteFile(path, fmt.Appendln(nil, n), 0); err != nil {
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ESTALE) && !errors.Is(err, syscall.ECONNABORTED) {
				return err
			}
			failed++
		} else {
			acknowledged = n
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if seen, _ := strconv.Atoi(strings.TrimSpace(string(data))); seen < acknowledged || seen > n {
			return fmt.Errorf("reads %q, acknowledged %d, tried %d", data, acknowledged, n)
		}
	}
}

// changes waits until a config has changed twice: whoever writes it has published what he began after now.
func (m *machine) changes(name string) {
	m.t.Helper()
	for range 2 {
		before := m.read("config/" + name)
		eventually(m.t, name+" changes", func() bool { return m.read("config/"+name) != before })
	}
}

// load starts a process that uses the mount until finish is called, which fails the test if it met an error.
func (m *machine) load(args ...string) (finish func() string) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), roleVariable+"=reader")
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cmd.Process.Kill() }) // if the test gives up before
	return func() string {
		m.t.Helper()
		in.Close()
		if err := cmd.Wait(); err != nil {
			m.t.Errorf("%s: %v: %s", args[0], err, out)
		}
		return out.String()
	}
}

// TestKillingTheServerUnderLoad: promise 3. Readers, holders of descriptors and maps, watchers and writers go on while the server is
// killed again and again.
func TestKillingTheServerUnderLoad(t *testing.T) {
	kills := 20
	if os.Getenv("KINGPIN_SOAK") != "" {
		kills = 200
	}
	m := start(t)
	const written = "config.manageddata.test.written"
	m.remote("config", written, "0\n")
	m.wantSoon("config/"+written, "0\n")
	m.order("/members?name="+aServerset, strings.Repeat("1", 5000)+"\n")
	m.remote("serverset", aServerset, "10.0.0.1:80\n")
	old := m.withPast()
	if _, err := os.ReadFile(old); err != nil { // who fetches it first, and loses two servers while he does, is told so
		t.Fatal(err)
	}
	seat := m.holds(`exec 9> $r/10.0.0.7:9090; read`)
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}})
	file, dir := m.watch(m.config()), m.watch(filepath.Dir(m.config()))
	finish := map[string]func() string{
		"read":  m.load("read", m.config()),
		"list":  m.load("list", filepath.Dir(m.config())),
		"cold":  m.load("cold", filepath.Dir(m.config())+"/.none"),
		"hold":  m.load("hold", m.config()),
		"past":  m.load("hold", old),
		"pasts": m.load("list", filepath.Dir(old)),
		"who":   m.load("members", m.path(".members/"+aServerset)),
		"write": m.load("publish", m.path("config/"+written)),
	}
	for i := range kills {
		m.killServer()
		m.remoteSoon("config", aConfig, fmt.Sprintf("version %d\n", i))
		file.next()
		for dir.next() != aConfig {
		}
		m.wantSoon("config/"+aConfig, fmt.Sprintf("version %d\n", i))
	}
	m.changes(written) // now that nobody kills it any more
	var acknowledged, failed int
	for name, end := range finish {
		var longest, count, errors int
		fmt.Sscan(end(), &longest, &count, &errors)
		t.Logf("%-5s %6d times, at most %.1f ms", name, count, float64(longest)/1000)
		if name == "write" {
			acknowledged, failed = count, errors
		}
	}
	t.Logf("%d kills, %d versions acknowledged, %d refused with an error", kills, acknowledged, failed)
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}})
	seat.kill()
	m.wantSeats(map[string]registered{})
	if acknowledged == 0 {
		t.Error("nothing was published")
	}
}

// TestBoundFileIsWrittenWhileTheServerDies: the server may be another one at each step of an open that truncates a file without a name.
func TestBoundFileIsWrittenWhileTheServerDies(t *testing.T) {
	kills := 20
	if os.Getenv("KINGPIN_SOAK") != "" {
		kills = 200
	}
	m := start(t)
	m.remote("config", aConfig, "0\n")
	m.wantSoon("config/"+aConfig, "0\n")
	finish := m.load("publish", m.bound(), m.config())
	for range kills {
		eventually(t, "a server answers", func() bool { return m.read(".status/ready") == "yes\n" })
		<-time.After(rand.N(120 * time.Millisecond)) // anywhere in a write
		m.killServer()
	}
	m.changes(aConfig)
	var longest, acknowledged, failed int
	fmt.Sscan(finish(), &longest, &acknowledged, &failed)
	t.Logf("%d kills, the last version acknowledged is %d, %d refused with an error", kills, acknowledged, failed)
	if acknowledged == 0 {
		t.Error("nothing was published")
	}
}

// TestBoundFileDoesNotGoBack: a server that has just begun shows a file without a name as the one before it did, and not as it was when
// it was bound.
func TestBoundFileDoesNotGoBack(t *testing.T) {
	m := start(t)
	bound := m.bound()
	holds := func(content string) bool {
		data, err := os.ReadFile(bound)
		return err == nil && string(data) == content
	}
	m.remote("config", aConfig, "second\n")
	eventually(t, "the bound file follows", func() bool { return holds("second\n") })
	m.announced()
	<-time.After(settling + settling/5)
	m.killServer()
	if !holds("second\n") {
		data, err := os.ReadFile(bound)
		t.Errorf("after the server was killed it holds %q, %v", data, err)
	}
}
