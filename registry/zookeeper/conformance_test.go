package zookeeper_test

import (
	"path/filepath"
	"testing"

	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/registry/registrytest"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// withBodies is a whole registry: bodies are not ZooKeeper's business.
type withBodies struct {
	*zookeeper.Client
	registrytest.Bodies
}

func TestConformance(t *testing.T) {
	registrytest.Test(t, func(t *testing.T) (a, b registrytest.Registry) {
		_, servers := ensemble(t)
		bodies, err := embedded.Open(filepath.Join(t.TempDir(), "bodies.db"), embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := bodies.Close(); err != nil {
				t.Error(err)
			}
		})
		o := zookeeper.Options{LockTimeout: patience} // how long the lock is held is the test's doing, and the machine's
		return withBodies{open(t, servers, o), bodies}, withBodies{open(t, servers, o), bodies}
	})
}
