package decider_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/decider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s until %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// file is where an application's test keeps its deciders.
func file(dir string) string { return filepath.Join(dir, string(registry.DeciderName)) }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *decider.Deciders {
	t.Helper()
	d, err := decider.Open(decider.Options{Dir: dir, Poll: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestKeysHaveTheBucketsOfPython: recorded from the original.
func TestKeysHaveTheBucketsOfPython(t *testing.T) {
	for _, vector := range []struct {
		name, key string
		bucket    int
	}{
		{"a", "1000", 79}, {"some_exp", "12345", 18}, {"exp", "user:1", 55},
		{"new_ranker", "", 44}, {"new_ranker", "café ☃", 81}, {"x", strings.Repeat("long", 100), 5},
	} {
		d := decider.Fixed(map[string]int{vector.name: vector.bucket})
		if got := d.Gate(vector.name, 0).Explain(vector.key); got.Bucket != vector.bucket || got.Active || got.Value != vector.bucket {
			t.Errorf("%s of %.20s: %+v, the bucket is %d", vector.key, vector.name, got, vector.bucket)
		}
		if d.Gate(vector.name, 0).ActiveForKey(vector.key) {
			t.Errorf("%s is open for %.20s at its bucket", vector.name, vector.key)
		}
		if err := d.Set(t.Context(), vector.name, vector.bucket+1); err != nil {
			t.Error(err)
		}
		if !d.Gate(vector.name, 0).ActiveForKey(vector.key) {
			t.Errorf("%s is not open for %.20s above its bucket", vector.name, vector.key)
		}
	}
}

// TestIdsHaveTheBucketsOfPython: -1 % 100 is 99 there.
func TestIdsHaveTheBucketsOfPython(t *testing.T) {
	for id, bucket := range map[int64]int{0: 0, 99: 99, 100: 0, 12345: 45, -1: 99, -99: 1, -100: 0, -12345: 55, -1 << 63: 92, 1<<63 - 1: 7} {
		d := decider.Fixed(map[string]int{"below": bucket, "above": bucket + 1})
		if d.Gate("below", 0).ActiveFor(id) || !d.Gate("above", 0).ActiveFor(id) {
			t.Errorf("id %d is not in bucket %d", id, bucket)
		}
	}
}

func TestActiveIsRandom(t *testing.T) {
	d := decider.Fixed(map[string]int{"never": 0, "half": 50, "always": 100})
	yes := 0
	for range 10_000 {
		if d.Gate("never", 0).Active() || !d.Gate("always", 0).Active() {
			t.Fatal("0 is sometimes, or 100 is not always")
		}
		if d.Gate("half", 0).Active() {
			yes++
		}
	}
	if yes < 4000 || yes > 6000 {
		t.Errorf("%d of 10000 with 50", yes)
	}
}

func TestNamesAreNotCaseSensitive(t *testing.T) {
	d := decider.Fixed(map[string]int{"New_Ranker": 42})
	if got := d.Gate("NEW_ranker", 0).Value(); got != 42 {
		t.Errorf("%d", got)
	}
	if err := d.Set(t.Context(), "neW_ranker", 43); err != nil || d.Gate("new_ranker", 0).Value() != 43 {
		t.Error(err)
	}
}

// TestAskingNeverFails: there is always an answer, and a reason.
func TestAskingNeverFails(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	gate := d.Gate("new_ranker", 30)
	reason := func(g decider.Gate, part string) {
		t.Helper()
		if got := g.Explain("x").Reason; !strings.Contains(got, part) {
			t.Errorf("reason %q without %q", got, part)
		}
	}
	if gate.Value() != 30 || d.Err() == nil {
		t.Errorf("without a file: %d", gate.Value())
	}
	reason(gate, "no such file")
	reason(d.Gate("no name!", 0), "default:")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for nothing: %v", err)
	}
	write(t, file(dir), `{"other": 1}`)
	if err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	reason(gate, "nobody has set new_ranker")
	write(t, file(dir), `{"new_ranker": 80, "other": 1}`)
	eventually(t, "the gate hears", func() bool { return gate.Value() == 80 })
	reason(gate, "published")
	write(t, file(dir), `{"new_ranker": `)
	eventually(t, "the break is seen", func() bool { return d.Err() != nil })
	if gate.Value() != 80 {
		t.Errorf("a broken file set it to %d", gate.Value())
	}
	reason(gate, "last good value: ")
	write(t, file(dir), `{"new_ranker": "many", "other": 12.5, "kill": true, "over": 250}`)
	eventually(t, "the neighbours go on", func() bool { return d.Gate("over", 0).Value() == 100 })
	if gate.Value() != 80 || d.Gate("other", 0).Value() != 13 || d.Gate("kill", 0).Value() != 1 {
		t.Errorf("%v", d.All())
	}
	write(t, file(dir), `{}`)
	eventually(t, "it is unknown again", func() bool { return gate.Value() == 30 })
	if d.Gate("x", -5).Value() != 0 || d.Gate("x", 500).Value() != 100 {
		t.Error("a default outside 0 to 100")
	}
	var unresolved decider.Gate // of a service that was made without deciders, in a test most likely
	if unresolved.Active() || unresolved.ActiveFor(0) || unresolved.ActiveForKey("x") || unresolved.Value() != 0 {
		t.Error("the zero gate is open")
	}
	reason(unresolved, "not resolved")
}

func TestSet(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	gate := d.Gate("exp_new_home", 0)
	for _, step := range []struct {
		name    string
		percent int
		want    string
	}{
		{"exp_new_home", 80, `{"exp_new_home": 80}`},
		{"Other_exp", 0, `{"exp_new_home": 80, "other_exp": 0}`},
	} {
		if err := d.Set(t.Context(), step.name, step.percent); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(file(dir)); string(got) != step.want {
			t.Errorf("%s and not %s", got, step.want)
		}
	}
	if gate.Value() != 80 {
		t.Error("what was set is not seen at once")
	}
	for name, percent := range map[string]int{"exp": 101, "exp2": -1, "no name": 1, "": 1, ".x": 1} {
		if err := d.Set(t.Context(), name, percent); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%q was set to %d: %v", name, percent, err)
		}
	}
}

// TestFinerThanOnePercentIsRefused: with the reason, since old readers count whole numbers.
func TestFinerThanOnePercentIsRefused(t *testing.T) {
	if _, err := registry.ParseDecider([]byte("12.5\n")); err == nil || !strings.Contains(err.Error(), "whole number from 0 to 100") {
		t.Errorf("%v", err)
	}
}

// TestGatesUnderLoad: 64 goroutines ask while others set; under the race detector too.
func TestGatesUnderLoad(t *testing.T) {
	d := open(t, t.TempDir())
	stop := make(chan struct{})
	var askers, setters sync.WaitGroup
	for range 64 {
		askers.Go(func() {
			gate := d.Gate("g", 50)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v := gate.Value(); v < 0 || v > 100 {
					t.Errorf("value %d", v)
				}
				gate.Active()
				gate.ActiveFor(rand.Int64())
				gate.ActiveForKey("key")
				gate.Explain("key")
				runtime.Gosched() // or the setters wait for their turn behind all of them
			}
		})
	}
	for range 4 {
		setters.Go(func() {
			for i := range 8 {
				if err := d.Set(t.Context(), "g", i*12); err != nil {
					t.Error(err)
				}
			}
		})
	}
	setters.Wait()
	close(stop)
	askers.Wait()
}

func TestAskingAllocatesNothing(t *testing.T) {
	d := open(t, t.TempDir())
	gate := d.Gate("new_ranker", 50)
	if n := testing.AllocsPerRun(1000, func() {
		gate.Value()
		gate.Active()
		gate.ActiveFor(-7)
		gate.ActiveForKey("user:1")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkActiveFor(b *testing.B) {
	gate := decider.Fixed(map[string]int{"new_ranker": 50}).Gate("new_ranker", 0)
	open := 0
	for i := 0; b.Loop(); i++ {
		if gate.ActiveFor(int64(i)) {
			open++
		}
	}
}

func BenchmarkActiveForKey(b *testing.B) {
	gate := decider.Fixed(map[string]int{"new_ranker": 50}).Gate("new_ranker", 0)
	for b.Loop() {
		gate.ActiveForKey("user:12345")
	}
}

// BenchmarkActiveForWhileItChanges: 64 goroutines a processor ask, one sets.
func BenchmarkActiveForWhileItChanges(b *testing.B) {
	d := decider.Fixed(map[string]int{"new_ranker": 50})
	gate := d.Gate("new_ranker", 0)
	stop := make(chan struct{})
	var setter sync.WaitGroup
	setter.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_ = d.Set(context.Background(), "new_ranker", i%101)
			}
		}
	})
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for i := int64(0); pb.Next(); i++ {
			gate.ActiveFor(i)
		}
	})
	close(stop)
	setter.Wait()
}
