package thriftclient_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/thriftclient"
)

const (
	size   = 10              // servers
	grace  = 2 * time.Second // after a fault, until the latency is to be as before
	settle = time.Second     // between two faults
	limit  = 8               // connections to each of them
)

// measured is for how long the latency after a fault is looked at.
func measured() time.Duration {
	if os.Getenv("KINGPIN_SOAK") != "" {
		return 30 * time.Second
	}
	return 1500 * time.Millisecond
}

// cluster is the servers and the file that names them.
type cluster struct {
	t       *testing.T
	notes   string
	file    string
	servers []*storm.Process
	far     *storm.Far // one of them, if the machine can have one
	excess  int64
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, notes: t.TempDir(), file: filepath.Join(t.TempDir(), "discovery.storm.test")}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Kill()
		}
	})
	if os.Geteuid() == 0 && found("ip", "nsenter") {
		far, err := storm.StartFar(storm.Options{Notes: c.notes, Limit: limit})
		if err != nil {
			t.Logf("no server in a network of its own: %v", err)
		} else {
			c.far = far
			c.servers = append(c.servers, far.Process)
		}
	}
	for len(c.servers) < size {
		c.servers = append(c.servers, c.start(freePort(t)))
	}
	c.publish()
	return c
}

// start starts a server at a port that it can have again.
func (c *cluster) start(addr string) *storm.Process {
	c.t.Helper()
	p, err := storm.Start(storm.Options{Addr: addr, Notes: c.notes, Limit: limit})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// publish writes the file as the monitor does: by rename.
func (c *cluster) publish() {
	c.t.Helper()
	var lines strings.Builder
	for _, s := range c.servers {
		fmt.Fprintln(&lines, s.Addr)
	}
	if err := os.WriteFile(c.file+".new", []byte(lines.String()), 0o644); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(c.file+".new", c.file); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) tell(i int, command string) {
	c.t.Helper()
	stats, err := c.servers[i].Tell(command)
	if err != nil {
		c.t.Fatal(err)
	}
	c.excess += stats.Excess
}

func (c *cluster) kill(i int) {
	c.tell(i, "stats")
	c.servers[i].Kill()
}

func (c *cluster) restart(i int) { c.servers[i] = c.start(c.servers[i].Addr) }

// freePort is one that the kernel gives to nobody while its server is down.
func freePort(t *testing.T) string {
	t.Helper()
	for port := 15000 + os.Getpid()%15000; ; port++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
		if port > 32000 {
			t.Fatal("no free port")
		}
	}
}

func found(programs ...string) bool {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return false
		}
	}
	return true
}

// need skips a test that the machine cannot run, aloud; where everything is required that is a failure.
func need(t *testing.T, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("KINGPIN_REQUIRE") == "all":
		t.Fatalf("this needs %s, and KINGPIN_REQUIRE=all", what)
	default:
		t.Skipf("this needs %s", what)
	}
}

// fault is something that happens to the servers. It returns how it ends.
type fault struct {
	name   string
	happen func(t *testing.T, c *cluster) (end func())
}

const victim = size - 1 // of faults of one server

var faults = []fault{
	{"one of ten killed", func(_ *testing.T, c *cluster) func() {
		c.kill(victim)
		return func() { c.restart(victim) }
	}},
	{"one of ten black-holed", func(t *testing.T, c *cluster) func() {
		need(t, "root, iproute2 and nsenter, to cut a cable", c.far != nil)
		if err := c.far.Cut(); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := c.far.Join(); err != nil {
				t.Error(err)
			}
		}
	}},
	{"one of ten hangs", func(t *testing.T, c *cluster) func() {
		if err := c.servers[victim].Pause(); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := c.servers[victim].Resume(); err != nil {
				t.Error(err)
			}
		}
	}},
	{"one of ten slow, 200 ms", func(_ *testing.T, c *cluster) func() {
		c.tell(victim, "slow 200ms")
		return func() { c.tell(victim, "slow 0s") }
	}},
	{"one of ten flapping", func(_ *testing.T, c *cluster) func() {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				for _, command := range []string{"refuse", "accept"} {
					c.tell(victim, command)
					select {
					case <-time.After(200 * time.Millisecond):
					case <-stop:
						c.tell(victim, "accept")
						return
					}
				}
			}
		}()
		return func() { close(stop); <-stopped }
	}},
	{"one of ten refusing", func(_ *testing.T, c *cluster) func() {
		c.tell(victim, "refuse")
		return func() { c.tell(victim, "accept") }
	}},
	{"half of them killed at once", func(_ *testing.T, c *cluster) func() {
		for i := size / 2; i < size; i++ {
			c.tell(i, "stats")
		}
		for i := size / 2; i < size; i++ {
			c.servers[i].Kill()
		}
		return func() {
			for i := size / 2; i < size; i++ {
				c.restart(i)
			}
		}
	}},
	{"rolling restart of all", func(_ *testing.T, c *cluster) func() {
		for i := range c.servers {
			if c.far == nil || c.servers[i] != c.far.Process { // its network would go with it
				c.kill(i)
				c.restart(i)
			}
		}
		return func() {}
	}},
	{"all replaced by new ones", func(t *testing.T, c *cluster) func() {
		before := c.servers
		c.servers = nil
		for len(c.servers) < size {
			c.servers = append(c.servers, c.start(freePort(t)))
		}
		c.publish()
		return func() {
			for _, s := range before {
				s.Kill()
			}
			c.far = nil
		}
	}},
}

func TestStorm(t *testing.T) {
	c := startCluster(t)
	p, err := thriftclient.Open(c.file, thriftclient.Options{Idempotent: []string{"echo"}, MaxPerHost: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, p)
	<-time.After(settle)
	calm := window{"healthy", time.Now(), time.Now().Add(measured())}
	<-time.After(measured())
	var windows []window
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { windows = append(windows, c.suffer(t, f, l)) })
	}
	l.finish(t, c.notes)
	for i := range c.servers {
		c.tell(i, "stats")
	}
	if c.excess > 0 {
		t.Errorf("%d connections above the limit", c.excess)
	}
	healthy, _ := p99(l.samples, calm.from, calm.to)
	for _, w := range append([]window{calm}, windows...) {
		first, _ := p99(l.samples, w.from.Add(-grace), w.from)
		after, calls := p99(l.samples, w.from, w.to)
		control, _ := p99(l.control, w.from, w.to)
		t.Logf("%-28s p99 of the first %v %8v, then %8v of %d calls; at the same time a healthy server %8v", w.name, grace, short(first), short(after), calls, short(control))
		if generous := max(10*healthy, 10*control, 500*time.Millisecond); after > generous {
			t.Errorf("%s: p99 is %v still %v after it, and was %v", w.name, after, grace, healthy)
		}
	}
}

func short(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// window is when the latency after a fault is looked at. That is done in the end, when all calls are over that began in it.
type window struct {
	name     string
	from, to time.Time
}

// suffer has a fault happen under load, and looks whether the callers notice.
func (c *cluster) suffer(t *testing.T, f fault, l *load) window {
	end := f.happen(t, c)
	<-time.After(grace)
	from := time.Now()
	<-time.After(measured())
	to := time.Now()
	end()
	<-time.After(settle)
	for _, err := range l.failures() {
		t.Errorf("a call that may be repeated has failed: %v", err)
	}
	return window{f.name, from, to}
}
