package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Where the tests of registering register.
const (
	userSet     = "discovery.user.prod"
	servicePath = "/discovery/user/prod/"
)

// registrar is a process that registers.
type registrar struct {
	cmd *exec.Cmd
	out *transcriptOf
	end chan struct{}
}

// transcriptOf is what a process says, for a test to read while it runs.
type transcriptOf struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcriptOf) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcriptOf) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// register starts kingpin register. It ends with the test at the latest.
func register(t *testing.T, env []string, args ...string) *registrar {
	t.Helper()
	r := &registrar{cmd: exec.Command(kingpinBinary(t), append([]string{"register", "--service", "user", "--env", "prod"}, args...)...), out: &transcriptOf{}, end: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = io.Writer(r.out), r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.end)
		r.cmd.Wait() // how it has ended its state tells
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kingpin %s said:\n%s", strings.Join(r.cmd.Args[1:], " "), r.out)
		}
		r.cmd.Process.Signal(syscall.SIGTERM)
		r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.end:
		case <-time.After(time.Minute):
			r.cmd.Process.Kill()
			<-r.end
		}
	})
	return r
}

func (r *registrar) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ended waits for its end and returns its status.
func (r *registrar) ended(t *testing.T) int {
	t.Helper()
	select {
	case <-r.end:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *registrar) running() bool {
	select {
	case <-r.end:
		return false
	default:
		return true
	}
}

// registrar registers where there is no monitor.
func (f *fleet) registrar(t *testing.T, args ...string) *registrar {
	t.Helper()
	return register(t, []string{"KINGPIN_MOUNT=" + f.dir + "/none", "KINGPIN_STATE=" + f.dir + "/none"}, append([]string{"--config", f.conf}, args...)...)
}

// registered are the nodes of the service's members, as ZooKeeper has them.
func (f *fleet) registered(t *testing.T) []string {
	t.Helper()
	nodes, err := f.zk.Ephemerals(servicePath)
	if err != nil {
		return []string{"?"} // it is down
	}
	for i := range nodes {
		nodes[i] = strings.TrimPrefix(nodes[i], servicePath)
	}
	return nodes
}

func (f *fleet) nobody(t *testing.T) func() bool {
	return func() bool { return len(f.registered(t)) == 0 }
}

func (f *fleet) somebody(t *testing.T) func() bool {
	return func() bool { nodes := f.registered(t); return len(nodes) == 1 && nodes[0] != "?" }
}

// startService makes a fleet with a serverset in it.
func startService(t *testing.T) *fleet {
	t.Helper()
	f := startFleet(t)
	f.direct(t, "create", userSet, "--dep", webDep)
	return f
}

func TestRegisterDirectly(t *testing.T) {
	f := startService(t)
	r := f.registrar(t, "--direct", "--port", "9090", "--host", "10.1.2.3")
	eventually(t, "it is registered", f.somebody(t))
	if node := f.registered(t)[0]; !regexp.MustCompile(`^[0-9a-f]{32}-10\.1\.2\.3:9090$`).MatchString(node) {
		t.Errorf("the node is %s, which old readers could not read", node)
	}
	eventually(t, "it says so", func() bool {
		return strings.Contains(r.out.String(), "10.1.2.3:9090 in discovery.user.prod registered")
	})
	r.signal(t, syscall.SIGTERM)
	if code := r.ended(t); code != 0 {
		t.Errorf("it has ended with %d", code)
	}
	if nodes := f.registered(t); len(nodes) != 0 {
		t.Errorf("it has ended and left %q behind", nodes)
	}

	// Where there is no monitor, the fleet of the configuration file is registered with.
	r = f.registrar(t, "--port", "9090", "--host", "web-1.example.com")
	eventually(t, "it is registered by its name", f.somebody(t))
	r.signal(t, syscall.SIGINT)
	if code := r.ended(t); code != 0 {
		t.Errorf("it has ended with %d", code)
	}
}

// TestRegisterLeavesFirst: the command serves on for the drain time after it has left, gets SIGTERM then, and its status is passed on.
func TestRegisterLeavesFirst(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startService(t)
	alive := filepath.Join(t.TempDir(), "alive")
	service := fmt.Sprintf("touch %s; trap 'rm %[1]s; exit 7' TERM; while :; do sleep 0.05; done", alive)
	r := f.registrar(t, "--direct", "--port", "9090", "--host", "10.1.2.3", "--drain", "10s", "--", "sh", "-c", service)
	eventually(t, "it is registered", f.somebody(t))
	r.signal(t, syscall.SIGTERM)
	eventually(t, "it has left", f.nobody(t))
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the command has ended before it had left: %v", err)
	}
	if code := r.ended(t); code != 7 {
		t.Errorf("it has ended with %d, want the status of the command", code)
	}
	if _, err := os.Stat(alive); err == nil {
		t.Error("the command was not told to end")
	}

	// One that dies leaves at once.
	r = f.registrar(t, "--direct", "--port", "9090", "--host", "10.1.2.3", "--", "sh", "-c", "while test ! -e "+alive+"; do sleep 0.05; done; exit 9")
	eventually(t, "it is registered", f.somebody(t))
	if err := os.WriteFile(alive, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := r.ended(t); code != 9 {
		t.Errorf("it has ended with %d", code)
	}
	if nodes := f.registered(t); len(nodes) != 0 {
		t.Errorf("it has left %q behind", nodes)
	}
}

// TestRegisterWhileHealthy: it comes with the check and goes with it, and neither at the first sign.
func TestRegisterWhileHealthy(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startService(t)
	healthy := filepath.Join(t.TempDir(), "healthy")
	r := f.registrar(t, "--direct", "--port", "9090", "--host", "10.1.2.3", "--check", "exec:test -e "+healthy, "--interval", "1s", "--rise", "3", "--fall", "2")
	for range 2 {
		eventually(t, "it is not registered", f.nobody(t))
		if err := os.WriteFile(healthy, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is registered", f.somebody(t))
		if err := os.Remove(healthy); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is not registered", f.nobody(t))
	if said := r.out.String(); !strings.Contains(said, "healthy: exec:test") || !strings.Contains(said, "not healthy: ") {
		t.Errorf("it said:\n%s", said)
	}
}

// TestRegisterOnTheWorstDay: the service starts while ZooKeeper is away, and is registered when it comes; that it goes again is
// no failed check.
func TestRegisterOnTheWorstDay(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startService(t)
	f.zk.Kill()
	r := f.registrar(t, "--direct", "--port", "9090", "--host", "10.1.2.3", "--check", "exec:true", "--rise", "1", "--drain", "0s", "--", "sleep", "600")
	eventually(t, "it waits", func() bool { return strings.Contains(r.out.String(), "pending") })
	f.startZooKeeper(t)
	eventually(t, "it is registered", f.somebody(t))
	before := f.registered(t)
	f.zk.Kill()
	f.startZooKeeper(t)
	eventually(t, "it is registered", f.somebody(t))
	if after := f.registered(t); after[0] != before[0] {
		t.Errorf("it was %s and is %s", before, after)
	}
	if said := r.out.String(); strings.Contains(said, "leaving") {
		t.Errorf("it has left meanwhile:\n%s", said)
	}
	if !r.running() {
		t.Error("it has ended")
	}
}

// TestRegisterRefuses what would be of no use, with words and the code for it, before the command is started.
func TestRegisterRefuses(t *testing.T) {
	f := startService(t)
	started := filepath.Join(t.TempDir(), "started")
	for _, c := range []struct {
		args []string
		code int
		word string
	}{
		{[]string{"--port", "9090", "--host", "127.0.0.1"}, 3, "for itself only"},
		{[]string{"--port", "9090", "--host", "::1"}, 3, "for itself only"},
		{[]string{"--port", "9090", "--host", "0.0.0.0"}, 3, "every address"},
		{[]string{"--port", "9090", "--host", "10.1.2.3", "--env", "prdo"}, 4, "nearest: discovery.user.prod"},
		{[]string{"--port", "0", "--host", "10.1.2.3"}, 2, "port"},
		{[]string{"--port", "9090", "--host", "10.1.2.3", "--check", "udp"}, 2, "want tcp"},
		{[]string{"--port", "9090", "--host", "10.1.2.3", "--weight", "70000"}, 2, "weight"},
		{[]string{"--port", "9090", "--host", "10.1.2.3", "--label", "zone"}, 2, "KEY=VALUE"},
		{[]string{"--host", "10.1.2.3"}, 2, "--port is missing"},
		{[]string{"--port", "9090", "--rise", "0"}, 2, "from 1"},
	} {
		r := f.registrar(t, append(append([]string{"--direct"}, c.args...), "--", "touch", started)...)
		if code := r.ended(t); code != c.code || !strings.Contains(r.out.String(), c.word) {
			t.Errorf("%q ended with %d, want %d and %q:\n%s", c.args, code, c.code, c.word, r.out)
		}
	}
	r := f.registrar(t, "--direct", "--port", "9090", "--", "/none/such")
	if code := r.ended(t); code != 127 {
		t.Errorf("what is not there ended with %d", code)
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("a command was started nevertheless")
	}
	if nodes := f.registered(t); len(nodes) != 0 {
		t.Errorf("registered are %q", nodes)
	}
	// Without --host it is never a loopback address, though ZooKeeper is at one here.
	r = f.registrar(t, "--direct", "--port", "9090")
	eventually(t, "it is registered, or says that it cannot be", func() bool { return f.somebody(t)() || !r.running() })
	for _, node := range f.registered(t) {
		if strings.Contains(node, "-127.") {
			t.Errorf("registered is %s", node)
		}
	}
	if !r.running() && !strings.Contains(r.out.String(), "--host") {
		t.Errorf("it said:\n%s", r.out)
	}
}
