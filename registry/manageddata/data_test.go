package manageddata_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// TestBytesAreThoseOfTheOldClasses: what each class wrote when it was recorded, and what it leaves when there is nothing.
func TestBytesAreThoseOfTheOldClasses(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	list := opened(manageddata.OpenList[string]("test", "test_config", x.options())).in(t)
	for _, step := range []struct {
		do   func() (int, error)
		want string
		n    int
	}{
		{func() (int, error) { return list.Add(ctx, "test_data") }, `["test_data"]`, 1},
		{func() (int, error) { return list.Add(ctx, "café ☃", "test_data") }, `["test_data", "caf\u00e9 \u2603"]`, 1},
		{func() (int, error) { return list.Remove(ctx, "test_data", "nobody") }, `["caf\u00e9 \u2603"]`, 1},
		{func() (int, error) { return 0, list.Clear(ctx) }, `[]`, 0},
	} {
		n, err := step.do()
		check(t, err)
		if x.holds("test.test_config", step.want); n != step.n {
			t.Errorf("%s: %d items", step.want, n)
		}
	}
	m := opened(manageddata.OpenMap[string, any]("test", "test_map", x.options())).in(t)
	check(t, m.Put(ctx, "key1", "value1"))
	check(t, m.Put(ctx, "a_first", map[string]any{"z": 1, "b": []any{1, 2.5, nil, true}}))
	x.holds("test.test_map", `{"a_first": {"b": [1, 2.5, null, true], "z": 1}, "key1": "value1"}`)
	check(t, m.Clear(ctx))
	x.holds("test.test_map", `{}`)
	lists := opened(manageddata.OpenMappedList[string, string]("test", "test_mapped", x.options())).in(t)
	check(t, lists.Add(ctx, "k1", "item1"))
	check(t, lists.Set(ctx, "k2", []string{"a", "b", "c", "zeta", "10.0.0.1:80", "a"}))
	x.holds("test.test_mapped", `{"k1": ["item1"], "k2": ["a", "b", "c", "zeta", "10.0.0.1:80"]}`)
	check(t, lists.Clear(ctx))
	x.holds("test.test_mapped", `{}`)
	anything := opened(manageddata.OpenJSON[any]("test", "test_ser", x.options())).in(t)
	check(t, anything.Set(ctx, map[string]any{"b": 1, "a": []any{1, 2, map[string]any{"z": nil}}}))
	x.holds("test.test_ser", `{"a": [1, 2, {"z": null}], "b": 1}`)
	for _, nothing := range []any{nil, false, 0, 0.0, "", []any{}, map[string]any{}} {
		check(t, anything.Set(ctx, 1))
		check(t, anything.Set(ctx, nothing))
		x.holds("test.test_ser", "")
	}
	raw := opened(manageddata.OpenRaw("test", "test_json", x.options())).in(t)
	check(t, raw.Set(ctx, `{"any": "raw string",  "spaces":   kept}`))
	x.holds("test.test_json", `{"any": "raw string",  "spaces":   kept}`)
	check(t, raw.Clear(ctx))
	x.holds("test.test_json", "")
}

// TestNumberedKeysComeBack: JSON has no keys but strings.
func TestNumberedKeysComeBack(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	m := opened(manageddata.OpenMap[int, bool]("test", "numbers", x.options())).in(t)
	check(t, m.PutAll(ctx, map[int]bool{1: true, 9: false, 10: true}))
	x.holds("test.numbers", `{"1": true, "10": true, "9": false}`)
	if v, ok := m.Value(10); !v || !ok {
		t.Error("10 is not there")
	}
	x.write("test.numbers", `{"01": true}`)
	eventually(t, "a key that is no number of ours is reported", func() bool { return m.Err() != nil })
}

// TestWhatAStructDoesNotHaveStays: another program, newer than this one, may keep more in the same map.
func TestWhatAStructDoesNotHaveStays(t *testing.T) {
	type limit struct {
		PerSecond int `json:"per_second"`
	}
	x, ctx := newTree(t), t.Context()
	x.write("api.limits", `{"a": {"burst": 7, "per_second": 1}, "b": {"burst": 8, "per_second": 2}}`)
	m := opened(manageddata.OpenMap[string, limit]("api", "limits", x.options())).in(t)
	check(t, m.Put(ctx, "b", limit{3}))
	x.holds("api.limits", `{"a": {"burst": 7, "per_second": 1}, "b": {"per_second": 3}}`)
	x.write("api.list", `[{"burst": 7, "per_second": 1}, {"per_second": 2}]`)
	l := opened(manageddata.OpenList[limit]("api", "list", x.options())).in(t)
	if _, err := l.Remove(ctx, limit{2}); err != nil {
		t.Fatal(err)
	}
	x.holds("api.list", `[{"burst": 7, "per_second": 1}]`)
	x.write("api.floats", `{"a": 1, "b": 2}`)
	f := opened(manageddata.OpenMap[string, float64]("api", "floats", x.options())).in(t)
	check(t, f.Put(ctx, "b", 0.5))
	x.holds("api.floats", `{"a": 1, "b": 0.5}`)
}

func TestTheSameResultMakesNoVersion(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	x.write("api.limits", `{"a":1}`) // not the bytes that would be written
	before, err := os.Stat(x.path("api.limits"))
	check(t, err)
	m := opened(manageddata.OpenMap[string, int]("api", "limits", x.options())).in(t)
	check(t, m.Put(ctx, "a", 1))
	check(t, m.Remove(ctx, "b"))
	after, err := os.Stat(x.path("api.limits"))
	check(t, err)
	if !os.SameFile(before, after) {
		t.Error("the file was replaced")
	}
}

// TestAWriterNeedsNotHaveReadTheNewest: the old classes compared with the copy that they had read and failed (D15), and two
// writers at one moment overwrote each other (D13).
func TestAWriterNeedsNotHaveReadTheNewest(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	m := opened(manageddata.OpenMap[string, int]("api", "limits", x.options())).in(t)
	x.write("api.limits", `{"theirs": 1}`)
	check(t, m.Put(ctx, "ours", 2))
	x.holds("api.limits", `{"ours": 2, "theirs": 1}`)
	if v, ok := m.Value("theirs"); v != 1 || !ok {
		t.Error("the change is not seen here at once")
	}
}

func TestNoConcurrentChangeIsLost(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	const writers, each = 4, 60
	var wg sync.WaitGroup
	for w := range writers {
		m := opened(manageddata.OpenMap[string, int]("api", "sum", x.options())).in(t)
		for range 3 {
			wg.Go(func() {
				for i := range each {
					err := m.Update(ctx, func(values map[string]int) error {
						values["sum"]++
						values[fmt.Sprintf("%d-%d", w, i)]++
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	m := opened(manageddata.OpenMap[string, int]("api", "sum", x.options())).in(t)
	if sum, _ := m.Value("sum"); sum != writers*3*each || m.View().Len() != 1+writers*each {
		t.Errorf("%d of %d changes are there, %d keys", sum, writers*3*each, m.View().Len())
	}
}

func TestAChangeThatFailsChangesNothing(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	x.write("api.limits", `{"a": 1}`)
	o := x.options()
	o.Check = func(values map[string]int) error {
		for k, v := range values {
			if v < 0 {
				return fmt.Errorf("%s is negative", k)
			}
		}
		return nil
	}
	m := opened(manageddata.OpenMap[string, int]("api", "limits", o)).in(t)
	refused := errors.New("no")
	var wg sync.WaitGroup
	for i := range 30 { // they meet in one version, and each has its own end
		wg.Go(func() {
			switch i % 3 {
			case 0:
				err := m.Update(ctx, func(values map[string]int) error { values["bad"] = i; return refused })
				if !errors.Is(err, refused) {
					t.Errorf("the function's error became %v", err)
				}
			case 1:
				if err := m.Put(ctx, "negative", -i); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), "negative is negative") {
					t.Errorf("what Check refuses was %v", err)
				}
			default:
				if err := m.Put(ctx, fmt.Sprint(i), i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, ok := m.Value("bad"); ok || m.View().Len() != 11 {
		t.Errorf("%v", maps.Collect(m.View().All()))
	}
	x.write("api.limits", `{"a": -1}`)
	eventually(t, "Check is asked about what others publish", func() bool { return m.Err() != nil })
	if v, _ := m.Value("a"); v != 1 {
		t.Errorf("a is %d", v)
	}
	func() {
		defer func() {
			if recover() != "ouch" {
				t.Error("the panic of a function did not come back to its caller")
			}
		}()
		_ = m.Update(ctx, func(map[string]int) error { panic("ouch") })
	}()
	o.Check = func(map[string]string) error { return nil }
	if _, err := manageddata.OpenMap[string, int]("api", "limits", o); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("a Check of another type: %v", err)
	}
}

// TestWhatCannotBeReadIsKeptOut: the old classes took it for an empty structure (D17), and died of bytes that are not ASCII (L2).
func TestWhatCannotBeReadIsKeptOut(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	x.write("spam.list", `["good"]`)
	l := opened(manageddata.OpenList[string]("spam", "list", x.options())).in(t)
	for _, broken := range []string{`["torn`, `{"a": 1}`, `[1]`, "[\"\xff\"]"} {
		x.write("spam.list", broken)
		eventually(t, "it is reported", func() bool { return l.Err() != nil })
		if !l.Contains("good") || l.Len() != 1 {
			t.Errorf("%q was taken for %v", broken, l.Values())
		}
		if _, err := l.Add(ctx, "more"); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("adding to %q: %v", broken, err)
		}
		x.holds("spam.list", broken)
		x.write("spam.list", `["good"]`)
		eventually(t, "it is good again", func() bool { return l.Err() == nil })
	}
	x.write("spam.list", "[\"caf\xc3\xa9 \xe2\x98\x83\"]")
	eventually(t, "what is not ASCII is read", func() bool { return l.Contains("café ☃") })
	x.write("spam.list", `["torn`)
	check(t, l.Set(ctx, []string{"repaired"}))
	x.holds("spam.list", `["repaired"]`)
}

// TestOneBrokenFileDisturbsNoOther: in the old library the first error of one watch broke the timeouts of the whole process (L1).
func TestOneBrokenFileDisturbsNoOther(t *testing.T) {
	x := newTree(t)
	dir := opened(manageddata.OpenDir(x.options())).in(t)
	broken := opened(manageddata.OpenList[string]("spam", "broken", manageddata.Options{In: dir})).in(t)
	x.write("spam.broken", `[`)
	eventually(t, "it is reported", func() bool { return broken.Err() != nil && !errors.Is(broken.Err(), fs.ErrNotExist) })
	good := opened(manageddata.OpenList[int]("spam", "good", manageddata.Options{In: dir})).in(t)
	x.write("spam.good", `[1, 2]`)
	check(t, good.Wait(t.Context()))
	if !slices.Equal(good.Values(), []int{1, 2}) {
		t.Error(good.Values())
	}
}

// TestOpenedBeforeThereIsAFile: the old classes stayed empty for ever (D16).
func TestOpenedBeforeThereIsAFile(t *testing.T) {
	x := newTree(t)
	m := opened(manageddata.OpenMap[string, int]("API", "Limits", x.options())).in(t)
	if m.Name() != "config.manageddata.api.limits" {
		t.Errorf("name %s", m.Name())
	}
	if _, ok := m.Value("a"); ok || m.View().Len() != 0 || m.View().Version() != "" {
		t.Error("something is there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	x.write("api.limits", `{"a": 1}`)
	for v := range m.Changes(ctx) {
		n, _ := v.Value("a")
		if v.Version() == "" {
			t.Error("no version")
		}
		if n == 1 {
			x.write("api.limits", `{"a": 2}`)
		} else {
			cancel()
		}
	}
	if _, err := manageddata.OpenRaw("a.b", "c", manageddata.Options{Dir: x.dir}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("a domain with a dot: %v", err)
	}
}

// TestTreeOfAMount: the same in a directory with config/ in it, and by the environment.
func TestTreeOfAMount(t *testing.T) {
	root := t.TempDir()
	check(t, os.Mkdir(filepath.Join(root, "config"), 0o755))
	path := filepath.Join(root, "config", "config.manageddata.a.b")
	check(t, os.WriteFile(path, []byte(`[1]`), 0o644))
	t.Setenv("KINGPIN_MOUNT", root)
	for _, o := range []manageddata.Options{{Dir: root}, {}} {
		l := opened(manageddata.OpenList[int]("a", "b", o)).in(t)
		if !l.Contains(1) {
			t.Fatal(l.Err())
		}
		if _, err := l.Add(t.Context(), 2); err != nil {
			t.Error(err)
		}
	}
	if got, _ := os.ReadFile(path); string(got) != `[1, 2]` {
		t.Errorf("%s", got)
	}
}

// TestPlainFilesOfTheMonitorAreNotWritten: without a mount the state directory is read and never written.
func TestPlainFilesOfTheMonitorAreNotWritten(t *testing.T) {
	state := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(state, "files", "config"), 0o755))
	check(t, os.WriteFile(filepath.Join(state, "files", "config", "config.manageddata.a.b"), []byte(`[1]`), 0o444))
	t.Setenv("KINGPIN_STATE", state)
	t.Setenv("KINGPIN_MOUNT", filepath.Join(state, "nowhere"))
	l := opened(manageddata.OpenList[int]("a", "b", manageddata.Options{})).in(t)
	if !l.Contains(1) {
		t.Fatal(l.Err())
	}
	if _, err := l.Add(t.Context(), 2); !errors.Is(err, registry.ErrUnreachable) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a change without a mount: %v", err)
	}
}

func TestUnhashableItemsAreFound(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	x.write("a.b", `[{"k": [1]}, "s", null, 1]`)
	l := opened(manageddata.OpenList[any]("a", "b", x.options())).in(t)
	for _, item := range []any{map[string]any{"k": []any{json.Number("1")}}, "s", nil, json.Number("1")} {
		if !l.Contains(item) {
			t.Errorf("%v is not found", item)
		}
	}
	if _, err := l.Remove(ctx, map[string]any{"k": []any{json.Number("1")}}); err != nil {
		t.Fatal(err)
	}
	x.holds("a.b", `["s", null, 1]`)
	if len(l.Shuffled()) != 3 {
		t.Error(l.Shuffled())
	}
}

func TestWhoGivesUpIsNotWaitedFor(t *testing.T) {
	x := newTree(t)
	m := opened(manageddata.OpenMap[string, int]("a", "b", x.options())).in(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := m.Put(ctx, "a", 1)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	check(t, m.Put(t.Context(), "b", 1))
	check(t, m.Close())
	if err := m.Put(t.Context(), "c", 1); err == nil {
		t.Error("a closed map was changed")
	}
}
