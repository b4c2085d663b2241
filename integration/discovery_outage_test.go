package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
)

// The crowd of the tests of outages.
const (
	registrants = 50
	followers   = 20
)

// crowd is many services, each registered by a process of its own, and many machines that follow them.
type crowd struct {
	*fleet
	ephemerals func(below string) ([]string, error)
	services   []*registrar
	machines   []*Monitor
	boot       time.Duration // what the server took to answer after its last start, a second on an idle machine
}

// TestDiscoveryOutages: ZooKeeper goes away for a second and for five. No serverset file loses anybody, all are back at once, and nobody
// is there twice.
func TestDiscoveryOutages(t *testing.T) {
	t.Parallel() // it waits more than it works
	f := startFleet(t)
	c := gather(t, f, f.zk.Ephemerals)
	for _, outage := range []time.Duration{time.Second, 5 * time.Second} {
		c.restart(t, outage, f.zk)
	}
	c.stillFollows(t)
}

// gather starts the crowd and waits until everybody sees everybody.
func gather(t *testing.T, f *fleet, ephemerals func(string) ([]string, error)) *crowd {
	t.Helper()
	f.direct(t, "create", userSet, "--dep", webDep)
	c := &crowd{fleet: f, ephemerals: ephemerals}
	for range registrants {
		c.join(t)
	}
	machines, errs := make([]*Monitor, followers), make([]error, followers)
	var starting sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range followers {
		o := site(t)
		o.Plain, o.Flags = true, []string{"--config", f.conf}
		starting.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			machines[i], errs[i] = Start(t.Context(), o)
		})
	}
	starting.Wait()
	for i, m := range machines {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() { stop(t, m) })
	}
	c.machines = machines
	c.eventually(t, "everybody is registered, and every machine shows all", c.whole)
	return c
}

// join has one more service registered.
func (c *crowd) join(t *testing.T) {
	t.Helper()
	n := len(c.services)
	c.services = append(c.services, c.registrar(t, "--direct", "--quiet", "--port", "9090", "--host", fmt.Sprintf("10.9.%d.%d", n/200, n%200+1)))
}

// eventually is that of the package, for what seventy processes do on a busy machine.
func (c *crowd) eventually(t *testing.T, claim string, holds func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	t.Fatalf("not so: %s: %v", claim, err)
}

// registeredOnce says whether ZooKeeper has every service, and once.
func (c *crowd) registeredOnce() error {
	nodes, err := c.ephemerals(servicePath)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		_, endpoint, _ := strings.Cut(strings.TrimPrefix(node, servicePath), "-")
		if seen[endpoint] {
			return fmt.Errorf("%s is registered twice: %q", endpoint, nodes)
		}
		seen[endpoint] = true
	}
	if len(seen) != len(c.services) {
		return fmt.Errorf("%d are registered, want %d", len(seen), len(c.services))
	}
	return nil
}

// shown says whether every machine shows so many.
func (c *crowd) shown(want int) error {
	for _, m := range c.machines {
		content, err := os.ReadFile(m.Path("serverset", userSet))
		if err != nil {
			return err
		}
		if n := bytes.Count(content, []byte("\n")); n != want {
			return fmt.Errorf("%s shows %d, want %d", m.Mount, n, want)
		}
	}
	return nil
}

func (c *crowd) whole() error {
	if err := c.registeredOnce(); err != nil {
		return err
	}
	return c.shown(len(c.services))
}

// during runs an outage and checks that no file loses anybody meanwhile, nor for as long afterwards as a loss is put off.
func (c *crowd) during(t *testing.T, name string, outage func(t *testing.T)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	looks := 0
	watching.Go(func() {
		for ; ctx.Err() == nil; looks++ {
			if err := c.shown(len(c.services)); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	outage(t)
	returned := time.Now()
	c.eventually(t, name+": everybody is back, once", c.registeredOnce)
	took := time.Since(returned)
	for time.Since(returned) < afterOutage {
		err := c.registeredOnce()
		if err != nil { // it answers beside the transaction that takes over a node, and may be in the midst of it
			err = c.registeredOnce()
		}
		if err != nil {
			t.Errorf("%s: %v after the return, somebody has gone again: %v", name, time.Since(returned), err)
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	cancel()
	watching.Wait()
	t.Logf("%s: %d services were back %v after the return, and %d files never shorter in %d looks", name, len(c.services), took.Round(time.Millisecond), len(c.machines), looks)
	if took > max(backBound, 10*c.boot) {
		t.Errorf("%s: everybody was back only after %v, and the server itself after %v", name, took, c.boot)
	}
}

const (
	// afterOutage is longer than removals are damped and sessions live on.
	afterOutage = 20 * time.Second
	// backBound is ten times what is promised: a busy machine is no outage.
	backBound = 20 * time.Second
)

// restart is an outage of a server. It ends when the server answers.
func (c *crowd) restart(t *testing.T, lasting time.Duration, z *server.ZooKeeper) {
	t.Helper()
	c.during(t, fmt.Sprintf("an outage of %v", lasting), func(t *testing.T) {
		z.Kill()
		<-time.After(lasting)
		began := time.Now()
		if err := z.Start(); err != nil {
			t.Fatal(err)
		}
		c.boot = time.Since(began)
	})
}

// stillFollows: what happens after an outage is seen by all.
func (c *crowd) stillFollows(t *testing.T) {
	t.Helper()
	c.join(t)
	c.eventually(t, "every machine shows who comes after it", c.whole)
	last := c.services[len(c.services)-1]
	last.signal(t, syscall.SIGTERM)
	last.ended(t)
	c.services = c.services[:len(c.services)-1]
	c.eventually(t, "and that he has left", c.whole)
}
