package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// registrar keeps a service registered by the mount of a machine.
func (m *Monitor) registrar(t *testing.T, args ...string) *registrar {
	t.Helper()
	return register(t, m.Env(), args...)
}

// standing is what a machine says of an endpoint that is held on it: its state, "" if there is none.
func (m *Monitor) standing(endpoint string) (state, node string) {
	data, err := os.ReadFile(m.Path(".status", "registrations.json"))
	var all []struct{ Endpoint, State, Node string }
	if err != nil || json.Unmarshal(data, &all) != nil {
		return "", ""
	}
	for _, r := range all {
		if r.Endpoint == endpoint {
			return r.State, r.Node
		}
	}
	return "", ""
}

// neverTwice watches ZooKeeper during a story in which the service is there at most once; and at least so often. A server asked for
// its ephemeral nodes answers beside the transactions that it carries out, and may be in the midst of one, so it is asked twice.
func (f *fleet) neverTwice(t *testing.T, least int, story func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		for ctx.Err() == nil {
			wrong := func(nodes []string) bool { return len(nodes) < least || len(nodes) > 1 }
			if nodes := f.registered(t); wrong(nodes) {
				if again := f.registered(t); wrong(again) {
					t.Errorf("registered are %q and then %q, want one", nodes, again)
					return
				}
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	story()
}

// registeredAs waits until a machine says that an endpoint is registered, by another node than before, and returns its node.
func (m *Monitor) registeredAs(t *testing.T, endpoint, before string) (node string) {
	t.Helper()
	eventually(t, endpoint+" is registered by another node than "+before, func() bool {
		state := ""
		state, node = m.standing(endpoint)
		return state == "registered" && node != before
	})
	return node
}

// TestRegistrationOutlivesTheServer: the server of a monitor is killed, and replaced by an upgrade. The service that is held through
// its mount is there all the time, once, though the session of the server that was killed lives on.
func TestRegistrationOutlivesTheServer(t *testing.T) {
	t.Parallel() // it waits more than it works
	const endpoint = "10.1.2.3:9090"
	f := startService(t)
	a, b := f.machine(t), f.machine(t)
	a.registrar(t, "--port", "9090", "--host", "10.1.2.3", "--weight", "7", "--label", "zone=a")
	eventually(t, "it is registered", f.somebody(t))
	eventually(t, "b shows it", func() bool { return b.shows("serverset/"+userSet, endpoint+"\n") })
	first := a.registeredAs(t, endpoint, "")
	if got := kingpin(t, a, "status"); !regexp.MustCompile(`registers +1 endpoint\n`).MatchString(got) {
		t.Errorf("status does not say that it is registered:\n%s", got)
	}
	f.neverTwice(t, 1, func() {
		pid, err := a.Server()
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		second := a.registeredAs(t, endpoint, first) // by the next server
		kingpin(t, a, "upgrade", "--timeout", readyLimit.String())
		a.registeredAs(t, endpoint, second)
		<-time.After(sessionTime) // of those that are gone
	})
	if members := read(t, b.Path(".members", userSet)); !strings.Contains(members, `"weight": 7`) || !strings.Contains(members, `"zone": "a"`) {
		t.Errorf("b says of its members\n%s", members)
	}
}

// sessionTime is longer than a session lives on after its client has died.
const sessionTime = 18 * time.Second

// TestRegistrationOutlivesTheMonitor: the monitor is stopped, which takes the service out, and started again, which brings it back.
func TestRegistrationOutlivesTheMonitor(t *testing.T) {
	f := startService(t)
	o := f.site(t)
	m := startMonitor(t, o)
	r := m.registrar(t, "--port", "9090", "--host", "10.1.2.3", "--drain", "0s", "--", "sleep", "600")
	eventually(t, "it is registered", f.somebody(t))
	stop(t, m)
	if nodes := f.registered(t); len(nodes) != 0 {
		t.Errorf("the monitor was stopped, and left %q behind", nodes)
	}
	startMonitor(t, o)
	eventually(t, "it is registered again", f.somebody(t))
	if !r.running() {
		t.Error("the service has ended meanwhile")
	}
}

// TestRegistrationOutlivesACrash: the whole monitor is killed, and started again while its session lives on. The node of the one makes
// room for that of the other.
func TestRegistrationOutlivesACrash(t *testing.T) {
	t.Parallel() // it waits more than it works
	const endpoint = "10.1.2.3:9090"
	f := startService(t)
	o := f.site(t)
	m := startMonitor(t, o)
	m.registrar(t, "--port", "9090", "--host", "10.1.2.3", "--drain", "0s", "--", "sleep", "600")
	eventually(t, "it is registered", f.somebody(t))
	eventually(t, "the machine remembers it", func() bool {
		ledger, err := os.ReadFile(filepath.Join(o.State, "registered.json"))
		return err == nil && strings.Contains(string(ledger), endpoint)
	})
	before := m.registeredAs(t, endpoint, "")
	f.neverTwice(t, 0, func() {
		crash(t, m)
		m = startMonitor(t, o)
		m.registeredAs(t, endpoint, before)
		<-time.After(sessionTime)
	})
	eventually(t, "it is registered", f.somebody(t))
}

// TestHoldOnTheWorstDay: to hold a file while ZooKeeper is away succeeds, and is pending; fsync waits, and says so when that takes
// too long. When ZooKeeper is back the service is registered. Killed, it is gone at once.
func TestHoldOnTheWorstDay(t *testing.T) {
	const endpoint = "10.1.2.3:9090"
	f := startService(t)
	m := f.machine(t)
	f.zk.Kill()
	hold := m.Command(t.Context(), "register", "--service", "user", "--env", "prod", "--port", "9090", "--host", "10.1.2.3", "--quiet")
	var out bytes.Buffer
	hold.Stderr = &out
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { hold.Process.Kill(); hold.Wait() }()
	eventually(t, "it is pending", func() bool { state, _ := m.standing(endpoint); return state == "pending" })
	f.startZooKeeper(t)
	eventually(t, "it is registered", f.somebody(t))
	hold.Process.Kill()
	eventually(t, "it is gone with its process", f.nobody(t)) // the session lives on, it is the monitor's

	file, err := os.OpenFile(m.Path(".register", userSet, "127.0.0.1:9090"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		file.Close()
	}
	if !errors.Is(err, syscall.EINVAL) {
		t.Errorf("to register a loopback address in a fleet: %v, want EINVAL", err)
	}
}

// TestRegisterStartsItsCommandWithoutAMonitor: a service must start on the worst day. It is registered when there is a monitor.
func TestRegisterStartsItsCommandWithoutAMonitor(t *testing.T) {
	t.Parallel() // it waits more than it works
	needMount(t)
	o := site(t)
	if err := os.MkdirAll(o.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	started := filepath.Join(t.TempDir(), "started")
	env := []string{"KINGPIN_MOUNT=" + o.Mount, "KINGPIN_STATE=" + o.State}
	args := []string{"--port", "9090", "--host", "10.1.2.3", "--drain", "0s"}
	if code := register(t, env, args...).ended(t); code != 6 {
		t.Errorf("without a command it has ended with %d, want 6", code)
	}
	r := register(t, env, append(args, "--", "sh", "-c", "touch "+started+"; exec sleep 600")...)
	eventually(t, "the command is started", func() bool { _, err := os.Stat(started); return err == nil })
	m := startMonitor(t, o)
	kingpin(t, m, "create", userSet)
	eventually(t, "it is registered", func() bool { return m.shows("serverset/"+userSet, "10.1.2.3:9090\n") })
	if !r.running() {
		t.Error("the service has ended meanwhile")
	}
}
