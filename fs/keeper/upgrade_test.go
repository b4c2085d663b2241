package keeper

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// upgrades takes orders from standard input, a line each: "upgrade TIMEOUT MODE", and says what came of them.
func upgrades(ctx context.Context, self string) <-chan Upgrade {
	requests := make(chan Upgrade)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) < 2 || words[0] != "upgrade" {
				continue
			}
			timeout, _ := time.ParseDuration(words[1])
			result := make(chan error, 1)
			u := Upgrade{
				Server:  append([]string{self, "server"}, words[2:]...),
				Poker:   []string{self, "poker"},
				Timeout: timeout,
				Result:  result,
			}
			if len(words) > 2 && words[2] == "missing" {
				u.Server = []string{"/no/such/program"}
			}
			select {
			case requests <- u:
			case <-ctx.Done():
				return
			}
			go func() { fmt.Printf("result of upgrade %s: %v\n", strings.Join(words[2:], " "), <-result) }()
		}
	}()
	return requests
}

func (m *monitor) upgrade(timeout time.Duration, mode string) {
	fmt.Fprintf(m.in, "upgrade %v %s\n", timeout, mode)
}

func TestUpgradesFailNoReadAndLoseNoEvent(t *testing.T) {
	t.Parallel()
	count := 8
	if os.Getenv("KINGPIN_SOAK") != "" {
		count = 50
	}
	m := newMonitor(t)
	last, poker := m.serving(1), m.poker()
	var readers []*process
	for range 2 {
		readers = append(readers, start(t, "reader", "FILE="+m.mount+"/"+fileName))
	}
	watch := start(t, "watch", "FILE="+m.mount+"/"+fileName)
	eventually(t, "it is watched", func() bool { return strings.Contains(watch.log.String(), "watching") })
	for n := range count {
		m.upgrade(patience, "")
		server := m.serving(n + 2)
		if server == last {
			t.Fatal("the same server serves")
		}
		last = server
		eventually(t, "the upgrade is said to be done", func() bool {
			return strings.Count(m.log.String(), "result of upgrade : <nil>") == n+1
		})
		poker = m.poker(poker)
	}
	m.says(fmt.Sprintf("server %d: {Crash:0 OOM:0 Hang:0 Upgrade:%d}", count+1, count))
	eventually(t, "the poker works", func() bool {
		d := m.do(1, Op{Kind: Touch, Path: fileName})
		return d.err == "<nil>" && d.results[0] == 0
	})
	eventually(t, "the watch still hears", func() bool { return strings.Contains(watch.log.String(), "CLOSE_WRITE") })
	for _, r := range readers {
		r.in.Close()
		r.wait(patience)
		t.Log(strings.TrimSpace(r.log.String()))
		if text := r.log.String(); !strings.Contains(text, " failed=0 ") || strings.HasPrefix(text, "reads=0") {
			t.Errorf("reader: %s", text)
		}
	}
	if strings.Contains(m.log.String(), "died") {
		t.Error("an upgrade looks like a death")
	}
	all := m.takeOvers()
	t.Logf("%d upgrades: nobody served for %v (median), %v (longest)", len(all), all[len(all)/2], all[len(all)-1])
}

func TestUpgradeToAServerThatWillNotDoChangesNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode, why string
		gap       bool // the old one had to be started again
	}{
		{"missing", "no such file", false},
		{"crashes", "ended before it was prepared: exit status 3", false},
		{"differs", "negotiates differently", false},
		{"refuses", "no room at the inn", false},
		{"sleeps", "not prepared within", false},
		{"hurries", "Prepared comes first", false},
		{"crashes late", "ended before it was ready: exit status 70", true},
		{"sleeps late", "not ready within", true},
	}
	m := newMonitor(t)
	server := m.serving(1)
	reader := start(t, "reader", "FILE="+m.mount+"/"+fileName)
	incarnation := 1
	for _, test := range tests {
		timeout := patience
		switch test.mode {
		case "sleeps":
			timeout = 500 * time.Millisecond
		case "sleeps late":
			timeout = 8 * time.Second // it has to be prepared before
		}
		m.upgrade(timeout, test.mode)
		result := "result of upgrade " + test.mode + ": "
		m.says(result)
		_, text, _ := strings.Cut(m.log.String(), result)
		line, _, _ := strings.Cut(text, "\n")
		if !strings.Contains(line, test.why) && !strings.Contains(m.log.String(), test.why) {
			t.Errorf("%s: %s, want %s", test.mode, line, test.why)
		}
		if line == "<nil>" {
			t.Errorf("%s: success", test.mode)
		}
		if test.gap {
			incarnation += 2
			server = m.serving(incarnation)
		}
		m.cat(t)
	}
	if unix.Kill(server, 0) != nil {
		t.Error("the old server is gone")
	}
	m.upgrade(patience, "")
	m.says("result of upgrade : <nil>")
	reader.in.Close()
	reader.wait(patience)
	if text := reader.log.String(); !strings.Contains(text, " failed=0 ") {
		t.Errorf("reader: %s", text)
	}
}

func TestUpgradeReplacesAServerThatCannotBeStarted(t *testing.T) {
	m := newMonitor(t, "SERVER_CRASHES=1")
	unix.Kill(m.serving(1), unix.SIGKILL)
	m.says("server keeps dying")
	m.upgrade(patience, "mended")
	m.says("result of upgrade mended: <nil>")
	m.cat(t)
}

func TestServerThatDiesDuringAnUpgradeIsReplacedAtOnce(t *testing.T) {
	m := newMonitor(t)
	server := m.serving(1)
	m.upgrade(time.Minute, "sleeps")
	m.says("trying another server")
	m.upgrade(time.Minute, "another")
	m.says("another upgrade is under way")
	unix.Kill(server, unix.SIGKILL)
	m.serving(2)
	m.cat(t)
	m.stop()
	m.says("the keeper stops")
	if m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
}

func TestServerThatDoesNotMakeRoomForItsSuccessorIsKilled(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_STUBBORN=1", "GRACE=300ms")
	server := m.serving(1)
	m.upgrade(patience, "")
	m.says("result of upgrade : <nil>")
	m.cat(t)
	if unix.Kill(server, 0) == nil {
		t.Error("it is still there")
	}
}
