//go:build soak

package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
)

// TestSoakDiscoveryOutages is TestDiscoveryOutages with outages that are longer than sessions, and with sessions that end while
// ZooKeeper is there.
func TestSoakDiscoveryOutages(t *testing.T) {
	f := startFleet(t)
	c := gather(t, f, f.zk.Ephemerals)
	for _, outage := range []time.Duration{30 * time.Second, 2 * time.Minute} {
		c.restart(t, outage, f.zk)
	}
	c.during(t, "the end of all sessions", func(t *testing.T) { c.freeze(t, 30*time.Second) })
	c.stillFollows(t)
}

// TestSoakDiscoveryRollingRestart: the three servers of an ensemble are restarted one after the other.
func TestSoakDiscoveryRollingRestart(t *testing.T) {
	needMount(t)
	e := server.StartEnsemble(t, 3)
	f := &fleet{zk: e.Servers[0], s3: server.StartS3(t), dir: directory(t)}
	f.conf = f.configure(t, "kingpin.conf", e.Addr, f.s3.Endpoint)
	f.direct(t, "dep", "create", webDep)
	c := gather(t, f, e.Ephemerals)
	c.during(t, "a rolling restart", func(t *testing.T) {
		for _, z := range e.Servers {
			z.Stop()
			<-time.After(2 * time.Second)
			if err := z.Start(); err != nil {
				t.Fatal(err)
			}
			<-time.After(5 * time.Second)
		}
	})
	c.stillFollows(t)
}

// freeze stops the processes of all services and lets them go on.
func (c *crowd) freeze(t *testing.T, lasting time.Duration) {
	t.Helper()
	for _, s := range c.services {
		s.signal(t, syscall.SIGSTOP)
	}
	<-time.After(lasting)
	for _, s := range c.services {
		s.signal(t, syscall.SIGCONT)
	}
}
