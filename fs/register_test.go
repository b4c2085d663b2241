package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// registered is what a registry knows of one endpoint.
type registered struct {
	Holders int
	Data    string
}

// seats are the registrations of one server; they end with it, as those of a session would.
type seats struct {
	mu  sync.Mutex
	all map[string]registered // by serverset and endpoint
}

func (s *seats) change(p *publisher, where string, change func(*registered)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.all[where]
	change(&r)
	if s.all[where] = r; r.Holders == 0 {
		delete(s.all, where)
	}
	data, err := json.Marshal(s.all)
	if err == nil {
		err = os.WriteFile(p.file("seats.new"), data, 0o644)
	}
	if err = errors.Join(err, os.Rename(p.file("seats.new"), p.file("seats"))); err != nil {
		panic(err)
	}
}

// seat is one Registration.
type seat struct {
	p     *publisher
	where string
}

func (p *publisher) register(name registry.Name, e registry.Endpoint) (Registration, error) {
	if e.Host() == "127.0.0.1" {
		return nil, fmt.Errorf("%s is this machine for itself only: %w", e, registry.ErrInvalid)
	}
	s := seat{p, string(name) + " " + string(e)}
	p.seats.change(p, s.where, func(r *registered) { r.Holders++ })
	return s, nil
}

func (p *publisher) knows(_ context.Context, name registry.Name) error {
	if strings.Contains(string(name), "typo") {
		return fmt.Errorf("no serverset %s; to make it: kingpin create %s: %w", name, name, registry.ErrNotExist)
	}
	return nil
}

func (s seat) Set(data []byte) error {
	var said map[string]any
	if err := json.Unmarshal(data, &said); err != nil {
		return fmt.Errorf("want an object: %w", registry.ErrInvalid)
	}
	s.p.seats.change(s.p, s.where, func(r *registered) { r.Data = string(data) })
	return nil
}

func (s seat) Wait(ctx context.Context) error {
	for s.p.writable() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (s seat) Close() { s.p.seats.change(s.p, s.where, func(r *registered) { r.Holders-- }) }

// seated is what is registered now.
func (m *machine) seated() map[string]registered {
	data, err := os.ReadFile(filepath.Join(m.state, "seats"))
	if err != nil {
		return nil
	}
	var all map[string]registered
	if err := json.Unmarshal(data, &all); err != nil {
		m.t.Fatal(err)
	}
	return all
}

func (m *machine) wantSeats(want map[string]registered) {
	m.t.Helper()
	var got map[string]registered
	defer func() {
		if !maps.Equal(got, want) {
			m.t.Logf("registered are %v, and noted down %s", got, m.noted())
		}
	}()
	eventually(m.t, fmt.Sprint("registered are ", want), func() bool {
		got = m.seated()
		return maps.Equal(got, want)
	})
}

// noted is what a server would go on with.
func (m *machine) noted() []byte {
	data, _ := os.ReadFile(filepath.Join(m.state, "disk", holdsFile))
	return data
}

const aPlace = "discovery.test.prod 10.0.0.7:9090"

// holder is a program that has a file open until it is told to go on.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *syncBuffer
}

// holds runs a script that may wait for a line with read.
func (m *machine) holds(script string) *holder {
	m.t.Helper()
	h := &holder{cmd: exec.Command("bash", "-c", script), out: &syncBuffer{}}
	h.cmd.Env = append(os.Environ(), "r="+m.path(".register/discovery.test.prod"), "m="+m.mount)
	h.cmd.Stdout, h.cmd.Stderr = h.out, h.out
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	h.cmd.WaitDelay = 100 * time.Millisecond // for a child that has inherited its output
	var err error
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { h.in.Close(); syscall.Kill(-h.cmd.Process.Pid, syscall.SIGKILL); h.cmd.Wait() }) // with its children
	return h
}

func (h *holder) say() { fmt.Fprintln(h.in) }

func (h *holder) kill() { h.cmd.Process.Kill(); h.cmd.Wait() }

func TestWhoHoldsAFileIsRegistered(t *testing.T) {
	m := start(t)
	none, one := map[string]registered{}, map[string]registered{aPlace: {Holders: 1}}
	dir := m.path(".register/discovery.test.prod")
	listed := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("held here are %q", want), func() bool { // a moment after it is registered
			entries, err := os.ReadDir(dir)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return err == nil && slices.Equal(names, want)
		})
	}
	listed()

	h := m.holds(`exec 9> $r/10.0.0.7:9090; read; exec 9>&-; read`)
	m.wantSeats(one)
	listed("10.0.0.7:9090")
	h.say()
	m.wantSeats(none)
	listed()
	h.kill()

	for name, script := range map[string]string{
		"killed":         `exec 9> $r/10.0.0.7:9090; read`,
		"for appending":  `exec 9>> $r/10.0.0.7:9090; read`,
		"read and write": `exec 9<> $r/10.0.0.7:9090; read`,
		"with a child":   `exec 9> $r/10.0.0.7:9090; sleep 1000 & echo $!; wait`,
	} {
		h := m.holds(script)
		m.wantSeats(one)
		child := 0
		if name == "with a child" {
			eventually(t, "it has a child", func() bool { child, _ = strconv.Atoi(strings.TrimSpace(h.out.String())); return child > 0 })
		}
		h.kill()
		if child > 0 { // who has inherited the descriptor holds it too
			m.wantSeats(one)
			syscall.Kill(child, syscall.SIGKILL)
		}
		m.wantSeats(none)
	}

	first, second := m.holds(`exec 9> $r/10.0.0.7:9090; read`), m.holds(`exec 9> $r/10.0.0.7:9090; read`)
	m.wantSeats(map[string]registered{aPlace: {Holders: 2}})
	listed("10.0.0.7:9090")
	first.kill()
	m.wantSeats(one)
	listed("10.0.0.7:9090")
	third := m.holds(`exec 9> $r/10.0.0.7:9090; exec 8> /proc/self/fd/9; exec 9>&-; read; exec 8>&-; read`)
	m.wantSeats(map[string]registered{aPlace: {Holders: 2}})
	second.kill()
	m.wantSeats(one)
	third.say()
	m.wantSeats(none)
}

func TestWhatAHolderSaysOfItself(t *testing.T) {
	m := start(t)
	said := func(data string) map[string]registered {
		return map[string]registered{aPlace: {Holders: 1, Data: data}}
	}
	h := m.holds(`exec 9> $r/10.0.0.7:9090; echo '{"weight": 2}' >&9; read; echo '{"weight":' >&9; read; echo '3}' >&9; read
		echo '}' >&9; echo $?; echo '[]' >&9; echo $?; echo; cat $r/10.0.0.7:9090; read`)
	m.wantSeats(said(`{"weight": 2}`))
	h.say()
	eventually(t, "half of it is written", func() bool {
		return m.read(".register/discovery.test.prod/10.0.0.7:9090") == "{\"weight\": 2}\n{\"weight\":\n"
	})
	m.wantSeats(said(`{"weight": 2}`))
	h.say()
	m.wantSeats(said("{\"weight\":\n3}"))
	h.say()
	eventually(t, "it has said nonsense", func() bool { return strings.Contains(h.out.String(), "3}\n") })
	if got := h.out.String(); !strings.Contains(got, "write error: Invalid argument\n1\n") || strings.Count(got, "write error") != 2 {
		t.Error(got)
	}
	if got := m.read(".error/register/discovery.test.prod"); !strings.HasPrefix(got, "refused: 10.0.0.7:9090: want an object") {
		t.Error(got)
	}
	m.killServer()
	m.wantSeats(said("{\"weight\":\n3}"))
	h.kill()
	m.wantSeats(map[string]registered{})
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	m := start(t)
	for _, c := range []struct{ path, says, reason string }{
		{"discovery.test.prod/nonsense", "Invalid argument", "has no port"},
		{"discovery.test.prod/10.0.0.7:0", "Invalid argument", "not a number from 1 to 65535"},
		{"discovery.test.prod/127.0.0.1:80", "Invalid argument", "for itself only"},
		{"discovery.typo.prod/10.0.0.7:80", "No such file or directory", "kingpin create discovery.typo.prod"},
		{"config.manageddata.test.one/10.0.0.7:80", "No such file or directory", ""},
		{"x/10.0.0.7:80", "No such file or directory", ""},
		{"x", "Operation not permitted", ""},
	} {
		out, err := m.shell(`exec 9> $m/.register/` + c.path)
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %s, %v", c.path, out, err)
		}
		name, _, _ := strings.Cut(c.path, "/")
		if got := m.read(".error/register/" + name); c.reason != "" && !strings.Contains(got, c.reason) {
			t.Errorf("%s: %s", c.path, got)
		}
	}
	h := m.holds(`exec 9> $r/10.0.0.7:9090; read`)
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}})
	for _, script := range []string{`rm $m/.register/*/*`, `mv $m/.register/*/* /tmp/x`, `mkdir $m/.register/x`, `ln -s a $m/.register/*/b`} {
		if out, err := m.shell(script); err == nil {
			t.Errorf("%s: %s", script, out)
		}
	}
	h.kill()
}

// A service must start on the worst day: it is registered when that is over.
func TestRegisteringWithTheNetworkAway(t *testing.T) {
	m := start(t)
	m.order("/down", "yes")
	h := m.holds(`exec 9> $r/10.0.0.7:9090 && echo open; python3 -c 'import os; os.fsync(9)'; echo synced; read`)
	eventually(t, "it is open", func() bool { return strings.Contains(h.out.String(), "open") })
	other := m.holds(`exec 9> $r/10.0.0.7:9090 && echo open; echo '{}' >&9; read`) // while the first one waits in fsync
	eventually(t, "another holds it too", func() bool { return m.seated()[aPlace] == registered{Holders: 2, Data: "{}"} })
	other.kill()
	m.wantSeats(map[string]registered{aPlace: {Holders: 1, Data: "{}"}}) // a place keeps what was said of it last, for as long as its server lives
	m.killServer()
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}})
	waiting := m.holds(`exec 9> $r/10.0.0.8:9090; exec python3 -c 'import os; os.fsync(9)'`)
	eventually(t, "it waits too", func() bool { return len(m.seated()) == 2 })
	waiting.cmd.Process.Signal(syscall.SIGTERM)
	waiting.cmd.Wait()
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}})
	if got := h.out.String(); strings.Contains(got, "synced") {
		t.Error(got)
	}
	eventually(t, "a server takes orders", func() bool { return m.tryOrder("/down", "no") == nil })
	eventually(t, "it is registered", func() bool { return strings.Contains(h.out.String(), "synced") })
	if got := h.out.String(); strings.Contains(got, "Error") {
		t.Error(got)
	}
}

// Promise 3, of registrations.
func TestRegistrationsOutliveTheServer(t *testing.T) {
	m := start(t)
	h := m.holds(`exec 9> $r/10.0.0.7:9090 8> $r/10.0.0.8:9090 7> $r/10.0.0.8:9090; echo '{"weight":7}' >&9; read; exec 9>&-; read; exec 8>&-; read; exec 7>&-; read`)
	eight := "discovery.test.prod 10.0.0.8:9090"
	all := map[string]registered{aPlace: {1, `{"weight":7}`}, eight: {Holders: 2}}
	m.wantSeats(all)
	for range 3 {
		m.killServer()
		m.wantSeats(all)
	}
	h.say() // closed after
	delete(all, aPlace)
	m.wantSeats(all)
	m.killServer()
	h.say() // closed in the gap
	all[eight] = registered{Holders: 1}
	m.wantSeats(all)
	m.killServer()
	m.wantSeats(all)
	h.say()
	m.wantSeats(map[string]registered{})
	m.killServer()
	eventually(t, "a server again", func() bool { return m.read(".status/ready") == "yes\n" })
	m.wantSeats(map[string]registered{})
}

// A server that was killed as it made or ended a hold may leave a note that nobody stands behind.
func TestAHoldThatNobodyHasOpenIsGivenUp(t *testing.T) {
	m := start(t)
	h := m.holds(`exec 9> $r/10.0.0.7:9090; read`)
	one := map[string]registered{aPlace: {Holders: 1}}
	m.wantSeats(one)
	path := filepath.Join(m.state, "disk", holdsFile)
	var data []byte
	eventually(t, "it is noted down", func() (noted bool) {
		var err error
		data, err = os.ReadFile(path)
		return err == nil
	})
	var err error
	var n noted
	if err := json.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	n.Holds = append(n.Holds, &hold{
		Node: hiddenID(holdKind, "nobody's"), Name: "discovery.test.prod", Endpoint: "10.0.0.9:9090", File: "10.0.0.9:9090", Handles: []uint64{draftBit | 1},
	})
	if data, err = json.Marshal(n); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m.killServer()
	m.wantSeats(map[string]registered{aPlace: {Holders: 1}, "discovery.test.prod 10.0.0.9:9090": {Holders: 1}})
	m.wantSeats(one)
	h.kill()
	m.wantSeats(map[string]registered{})
}

// TestAHolderGoesOnSayingThings: by the same descriptor, over the death of the server, and for as long as it likes.
func TestAHolderGoesOnSayingThings(t *testing.T) {
	m := start(t)
	weighs := func(weight string) {
		t.Helper()
		m.wantSeats(map[string]registered{aPlace: {Holders: 1, Data: `{"weight": ` + weight + `}`}})
	}
	h := m.holds(`exec 9> $r/10.0.0.7:9090; echo '{"weight": 1}' >&9
read; echo '{"weight": 2}' >&9 || echo FAILED
echo -n '{"weig' >&9; read; echo 'ht": 3}' >&9 || echo FAILED
read; for ((i = 0; i < 100; i++)); do printf '{"weight": %d, "why": "%100s"}\n' $((i % 7)) >&9 || { echo FAILED; break; }; done; echo '{"weight": 9}' >&9; read`)
	weighs("1")
	m.killServer()
	weighs("1")
	h.say()
	weighs("2")
	eventually(t, "half of it is written", func() bool { return strings.HasSuffix(m.read(".register/discovery.test.prod/10.0.0.7:9090"), `{"weig`) })
	m.killServer()
	weighs("2")
	h.say()
	weighs("3")
	h.say()
	weighs("9")
	if said := h.out.String(); said != "" {
		t.Error(said)
	}
}
