package mirror_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
)

// TestTheEndOfALongHistoryIsFound: S3 lists the oldest keys first, a thousand at a time.
func TestTheEndOfALongHistoryIsFound(t *testing.T) {
	real := server.StartS3(t)
	asOperator(t, real.AccessKey, real.SecretKey)
	s := openS3(t, options(real))
	pointer := registry.Name("config.manageddata.test.busy").Pointer()

	const count = 1100
	var want []registry.Version // ascending: a tenth in each of the ten times as long ago
	for i := range count {
		ago := time.Duration(float64(time.Minute) * math.Pow(10, 6-6*float64(i)/count))
		want = append(want, registry.NextVersion(time.Now().Add(-ago), ""))
	}
	slices.Sort(want)
	want = slices.Compact(want)
	versions := make(chan registry.Version)
	var putting sync.WaitGroup
	for range 16 {
		putting.Go(func() {
			for v := range versions {
				if err := s.Put(t.Context(), pointer.Key(v), registry.Body{Data: []byte("x")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, v := range want {
		versions <- v
	}
	close(versions)
	putting.Wait()
	slices.Reverse(want)

	for _, most := range []int{1, 10, 1000} {
		list, err := s.List(t.Context(), pointer.Key(""), most)
		if err != nil {
			t.Fatal(err)
		}
		var got []registry.Version
		for _, o := range list {
			v, _ := pointer.VersionOf(o.Key)
			got = append(got, v)
		}
		if !slices.Equal(got, want[:most]) {
			t.Errorf("the last %d: got %d, from %s", most, len(got), fmt.Sprint(got[:min(3, len(got))]))
		}
	}
}
