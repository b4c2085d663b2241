package registry

import (
	"fmt"
	"math"
	"testing"
)

// TestBuckets are those of Python's id % 100 and int(md5("decider_" + name + str(id)).hexdigest(), 16) % 100.
func TestBuckets(t *testing.T) {
	for id, want := range map[int64]int{0: 0, 29: 29, 99: 99, 100: 0, 129: 29, -1: 99, -100: 0, -101: 99, math.MaxInt64: 7, math.MinInt64: 92} {
		if got := IDBucket(id); got != want {
			t.Errorf("the bucket of %d is %d, want %d", id, got, want)
		}
	}
	for _, v := range []struct {
		decider, key string
		want         int
	}{{"a", "1000", 79}, {"some_exp", "12345", 18}, {"exp", "user:1", 55}} {
		if got := KeyBucket(v.decider, v.key); got != v.want {
			t.Errorf("the bucket of %s for %s is %d, want %d", v.key, v.decider, got, v.want)
		}
	}
	const keys = 10_000
	counts := map[int]int{}
	for i := range keys {
		counts[KeyBucket("even", fmt.Sprint(i))]++
	}
	for b := range 100 {
		if n := counts[b]; n < keys/200 || n > keys/50 {
			t.Errorf("%d of %d keys are in bucket %d", n, keys, b)
		}
	}
}
