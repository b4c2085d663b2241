package zookeeper_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
	"go.uber.org/goleak"
)

// shared is one server for all tests that do not harm it, each of which has a chroot of its own.
var shared = sync.OnceValues(func() (*server.ZooKeeper, error) {
	dir, err := os.MkdirTemp("", "zookeeper-")
	if err != nil {
		return nil, err
	}
	z, err := server.NewZooKeeper(dir)
	if err != nil {
		return nil, err
	}
	atEnd = func() { z.Kill(); os.RemoveAll(dir) }
	return z, z.Start()
})

var (
	atEnd  = func() {}
	chroot atomic.Int64
)

func TestMain(m *testing.M) {
	code := m.Run()
	atEnd()
	if code == 0 {
		err := goleak.Find()
		for late := time.Now().Add(patience); err != nil && time.Now().Before(late); { // go-zookeeper takes its time to leave
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// ensemble is the shared server and an unused chroot on it.
func ensemble(t testing.TB) (z *server.ZooKeeper, servers string) {
	t.Helper()
	server.NeedZooKeeper(t)
	z, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return z, fmt.Sprintf("%s/chroot%d", z.Addr, chroot.Add(1))
}

// open opens a client and closes it when the test ends.
func open(t testing.TB, servers string, o zookeeper.Options) *zookeeper.Client {
	t.Helper()
	c, err := zookeeper.Open(servers, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
