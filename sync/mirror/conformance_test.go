package mirror_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"net/http/httptest"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/registry/registrytest"
)

// composite is a registry put together from one for the nodes and one for the bodies.
type composite struct {
	nodes
	registrytest.Bodies
}

type nodes interface {
	registrytest.Pointers
	registrytest.Serversets
	registrytest.Dependencies
	registrytest.Acceptances
}

func TestConformanceOfS3(t *testing.T) {
	real := server.StartS3(t)
	asOperator(t, real.AccessKey, real.SecretKey)
	fake := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server())
	t.Cleanup(fake.Close)
	var buckets atomic.Int32

	registrytest.Test(t, func(t *testing.T) (a, b registrytest.Registry) {
		nodes, err := embedded.Open(filepath.Join(t.TempDir(), "registry.db"), embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := nodes.Close(); err != nil {
				t.Error(err)
			}
		})
		o := options(real)
		o.Bucket = fmt.Sprintf("bucket%d", buckets.Add(1))
		if strings.HasSuffix(t.Name(), "a_key_may_be_the_beginning_of_another") {
			o.Endpoint = fake.URL // which holds no files
		} else if err := real.MakeBucket(o.Bucket); err != nil {
			t.Fatal(err)
		}
		open := func() registrytest.Registry { return composite{nodes, openS3(t, o)} }
		return open(), open()
	})
}
