package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pokerLife is how long a poker lives at least before it is killed: the keeper takes its time with one that dies sooner.
const pokerLife = 200 * time.Millisecond

// poker is the process that touches the mount, when there is one that was not killed before and has lived for a while.
func (m *machine) poker(killed []int) (pid int) {
	m.t.Helper()
	eventually(m.t, "there is a poker", func() bool {
		for _, pid = range m.children(m.state, false) {
			if !slices.Contains(killed, pid) {
				return true
			}
		}
		return false
	})
	<-time.After(pokerLife)
	return pid
}

// drain takes out what was heard so far.
func (w *watcher) drain() {
	for {
		select {
		case <-w.lines:
		case <-time.After(20 * time.Millisecond):
			return
		}
	}
}

// nextOf waits for an event of a name.
func (w *watcher) nextOf(name string) {
	w.t.Helper()
	for w.next() != name {
	}
}

// TestKillingThePokerUnderLoad: readers, holders of descriptors and maps, watchers and writers go on while the poker is killed again
// and again, before a publication, beside it, and while it is announced. No event is lost, no read and no write fails, and whoever reads
// after a close sees what was written.
func TestKillingThePokerUnderLoad(t *testing.T) {
	kills := 20
	if os.Getenv("KINGPIN_SOAK") != "" {
		kills = 50
	}
	m := start(t)
	const written = "config.manageddata.test.written"
	m.remote("config", written, "0\n")
	m.wantSoon("config/"+written, "0\n")
	file, dir := m.watch(m.config()), m.watch(filepath.Dir(m.config()))
	finish := map[string]func() string{
		"read":  m.load("read", m.config()),
		"list":  m.load("list", filepath.Dir(m.config())),
		"cold":  m.load("cold", filepath.Dir(m.config())+"/.none"),
		"hold":  m.load("hold", m.config()),
		"write": m.load("publish", m.path("config/"+written)),
	}
	var killed []int
	for i := range kills {
		poker := m.poker(killed)
		killed = append(killed, poker)
		m.announced()
		file.drain()
		body, fresh := fmt.Sprintf("version %d\n", i), fmt.Sprintf("config.manageddata.test.new.%d", i)
		publish := func() {
			m.remote("config", aConfig, body)
			m.remote("config", fresh, body)
		}
		kill := func() {
			if err := syscall.Kill(poker, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		var beside sync.WaitGroup
		switch i % 3 {
		case 0:
			kill()
			publish()
		case 1:
			beside.Go(publish)
			kill()
			beside.Wait()
		case 2:
			publish()
			kill()
		}
		file.next()
		dir.nextOf(fresh)
		m.wantSoon("config/"+aConfig, body)
		m.wantSoon("config/"+fresh, body)
	}
	for name, end := range finish {
		var longest, count, failed int
		fmt.Sscan(end(), &longest, &count, &failed)
		t.Logf("%-5s %6d times, at most %.1f ms", name, count, float64(longest)/1000)
		if name == "write" && (count == 0 || failed > 0) {
			t.Errorf("%d writes succeeded, %d failed", count, failed)
		}
	}
	if servers := m.children(m.state, true); len(servers) != 1 {
		t.Errorf("servers: %v", servers)
	}
}

// TestReadAfterCloseWithoutAPoker: a close whose poker dies waits for the next one, which makes the kernel forget the version before: what
// was acknowledged is what is read.
func TestReadAfterCloseWithoutAPoker(t *testing.T) {
	m := start(t)
	var killed []int
	for i := range 20 {
		body := fmt.Sprintf("version %d\n", i)
		poker := m.poker(killed)
		killed = append(killed, poker)
		var killer sync.WaitGroup
		killer.Go(func() { syscall.Kill(poker, syscall.SIGKILL) })
		if err := os.WriteFile(m.config(), []byte(body), 0); err != nil {
			t.Fatal(err)
		}
		m.want("config/"+aConfig, body)
		killer.Wait()
	}
	if strings.Contains(m.log.String(), "not invalidated") { // it is luck then if the announcement has come first
		t.Error("a close returned before the version it made could be read")
	}
}
