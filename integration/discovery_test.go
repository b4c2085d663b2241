package integration

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// service is what the old README's tour of service discovery registers.
const service = "discovery.test_service.prod"

// quickGuard makes the machines of a fleet wait a second where they would wait ten.
func (f *fleet) quickGuard(t *testing.T) {
	t.Helper()
	conf, err := os.OpenFile(f.conf, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = conf.WriteString("[serverset *]\nguard-damping = 1s\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
}

// register has the old zk_register register an endpoint. kill ends it without a word to ZooKeeper, as a machine that loses power.
func (f *fleet) register(t *testing.T, endpoint string) (kill func()) {
	t.Helper()
	p := startOld(t, f, "join", "/"+strings.ReplaceAll(service, ".", "/"), endpoint)
	return func() {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// holdFile has a shell on a machine hold the file of an endpoint, as any program may.
func holdFile(t *testing.T, m *Monitor, endpoint string) (kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `exec 9> "$0" && echo held && read`, m.Path(".register", service, endpoint))
	stdin, err := cmd.StdinPipe() // it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it was killed
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the shell says %q (%v)", line, err)
	}
	return func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// TestDiscovery is the old README's tour with our commands: a service is made, subscribed and registered by one machine, and found
// on another; it loses one instance and then the last; an operator believes that. One instance holds a file, one is the old registrar's.
func TestDiscovery(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startFleet(t)
	f.quickGuard(t)
	a, b := f.machine(t), f.machine(t)
	both := func(claim, content string) {
		t.Helper()
		for _, m := range []*Monitor{a, b} {
			eventually(t, m.Mount+" shows "+claim, func() bool { return m.shows("serverset/"+service, content) })
		}
	}
	kingpin(t, a, "dep", "create", "services.dep")
	kingpin(t, a, "create", service, "--dep", "services.dep")
	kingpin(t, a, "dep", "add", webDep, service)
	both("that nobody serves yet", "")

	killFirst := holdFile(t, a, "10.0.0.7:8081")
	both("the one that has registered", "10.0.0.7:8081\n")
	killSecond := f.register(t, "10.0.0.7:8082")
	both("both", "10.0.0.7:8081\n10.0.0.7:8082\n")
	killFirst()
	both("the one that is left", "10.0.0.7:8082\n")

	killSecond()
	for _, m := range []*Monitor{a, b} {
		eventually(t, "the last one is held", func() bool { return holds(t, m, "empty", 1) })
		if got := read(t, m.Path("serverset/"+service)); got != "10.0.0.7:8082\n" {
			t.Fatalf("the last one has left the file: %q", got)
		}
		const line = "held      " + service + "  empty, was 1; kingpin accept " + service + "\n"
		if got := kingpin(t, m, "status"); !strings.Contains(got, line) {
			t.Errorf("kingpin status says\n%s, want in it\n%s", got, line)
		}
		if got := kingpin(t, m, "members", service, "-o", "json"); !strings.Contains(got, `"state": "held"`) {
			t.Errorf("kingpin members says\n%s", got)
		}
	}
	if out := kingpin(t, a, "accept", service, "-o", "json"); !strings.Contains(out, `"was": 1`) {
		t.Errorf("kingpin accept says\n%s", out)
	}
	if !a.shows("serverset/"+service, "") {
		t.Error("accept came back before the file was empty")
	}
	both("nobody, as was accepted", "")
	for _, m := range []*Monitor{a, b} {
		eventually(t, m.Mount+" holds nothing any more", func() bool { return holds(t, m, "", 0) })
	}

	kill := f.register(t, "10.0.0.7:8083") // a service comes back at once
	both("who has come back", "10.0.0.7:8083\n")
	if got := f.direct(t, "members", service, "-o", "name"); got != "10.0.0.7:8083\n" {
		t.Errorf("without a monitor the members are %q", got)
	}
	f.direct(t, "accept", service, "--for", "1h")
	kill()
	both("nobody, as is still accepted", "")
}

// holds says whether a machine holds the service back for this reason, "" for none.
func holds(t *testing.T, m *Monitor, reason string, was int) bool {
	t.Helper()
	var all []struct {
		Name string
		Held *struct {
			Reason   string
			Was, Now int
			Since    time.Time
		}
	}
	if err := json.Unmarshal([]byte(read(t, m.Path(".status/serversets.json"))), &all); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if one.Name == service && one.Held == nil {
			return reason == ""
		}
		if one.Name == service {
			return one.Held.Reason == reason && one.Held.Was == was && one.Held.Now == 0 && time.Since(one.Held.Since) < time.Hour
		}
	}
	return false
}

// TestRestartedMonitorHolds: neither kill -9 of the server nor a restart of the monitor empties a file that is held.
func TestRestartedMonitorHolds(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startFleet(t)
	f.quickGuard(t)
	o := f.site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", service)
	kill := f.register(t, "10.0.0.7:8081")
	const file = "serverset/" + service
	eventually(t, "the member is there", func() bool { return m.shows(file, "10.0.0.7:8081\n") })
	kill()
	eventually(t, "it is held", func() bool { return holds(t, m, "empty", 1) })
	server, err := m.Server()
	if err != nil {
		t.Fatal(err)
	}
	succeed(t, m, "kill -9 $(cat .status/pid)")
	eventually(t, "there is another server, which holds it", func() bool {
		now, err := m.Server()
		return err == nil && now != server && holds(t, m, "empty", 1)
	})
	if !m.shows(file, "10.0.0.7:8081\n") {
		t.Errorf("the next server shows %q", read(t, m.Path(file)))
	}
	stop(t, m)
	m = startMonitor(t, o)
	eventually(t, "the next monitor holds it", func() bool { return holds(t, m, "empty", 1) })
	if !m.shows(file, "10.0.0.7:8081\n") {
		t.Errorf("the next monitor shows %q", read(t, m.Path(file)))
	}
	// For this machine alone it may be believed.
	kingpin(t, m, "accept", "--here", service)
	if !m.shows(file, "") {
		t.Errorf("after accept --here it shows %q", read(t, m.Path(file)))
	}
}
