package embedded_test

import (
	"path/filepath"
	"testing"

	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/registry/registrytest"
)

// open opens a registry file and closes it when the test ends.
func open(t testing.TB, path string) *embedded.Registry {
	t.Helper()
	r, err := embedded.Open(path, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestConformance(t *testing.T) {
	registrytest.Test(t, func(t *testing.T) (a, b registrytest.Registry) {
		r := open(t, filepath.Join(t.TempDir(), "registry.db"))
		return r, r
	})
}
