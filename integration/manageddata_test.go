package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/decider"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// opened is what a library's Open returned, ended with the test.
func opened[T interface{ Close() error }](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := value.Close(); err != nil {
				t.Error(err)
			}
		})
		return value
	}
}

type (
	sums  = manageddata.Map[string, int]
	words = manageddata.List[string]
)

// TestFleetAThousandReadModifyWritesLoseNothing: three machines change one map at the same time.
func TestFleetAThousandReadModifyWritesLoseNothing(t *testing.T) {
	const changes, machines = 1000, 3
	f := startFleet(t)
	var maps []*sums
	var mounts []*Monitor
	for range machines {
		m := f.machine(t)
		mounts = append(mounts, m)
		maps = append(maps, opened[*sums](t)(manageddata.OpenMap[string, int]("demo", "sums", manageddata.Options{Dir: m.Mount})))
	}
	kingpin(t, mounts[0], "create", "config.manageddata.demo.sums")
	for i, m := range mounts {
		eventually(t, "the name has come to every machine", func() bool { return m.shows("config/config.manageddata.demo.sums", "") || maps[i].View().Len() > 0 })
	}
	started := time.Now()
	var wg sync.WaitGroup
	for i := range changes {
		wg.Go(func() {
			err := maps[i%machines].Update(t.Context(), func(values map[string]int) error {
				values["sum"] += i
				values["count"]++
				values[fmt.Sprintf("change%d", i)] = i
				return nil
			})
			if err != nil {
				t.Errorf("change %d: %v", i, err)
			}
		})
		if i%machines == 0 { // in twos and threes, as machines do; all at once they would be three versions
			wg.Go(func() {
				if err := maps[i%machines].Put(t.Context(), "last", i); err != nil {
					t.Error(err)
				}
			})
			<-time.After(time.Duration(i%7) * time.Millisecond)
		}
	}
	wg.Wait()
	t.Logf("%d changes in %v", changes, time.Since(started).Round(time.Millisecond))
	for i, m := range maps {
		eventually(t, fmt.Sprintf("machine %d has all", i), func() bool {
			view := m.View()
			sum, _ := view.Value("sum")
			count, _ := view.Value("count")
			return sum == changes*(changes-1)/2 && count == changes && view.Len() == changes+3
		})
	}
	if t.Failed() {
		t.Logf("%.500s", read(t, mounts[0].Path("config", "config.manageddata.demo.sums")))
	}
}

// TestLibrariesOnAMount: what an application writes by the libraries is there as a file, in the old bytes, one version for a change.
func TestLibrariesOnAMount(t *testing.T) {
	const name = "config.manageddata.spam.blacklist"
	m, ctx := monitor(t), t.Context()
	o := manageddata.Options{Dir: m.Mount}
	kingpin(t, m, "create", name)
	list := opened[*words](t)(manageddata.OpenList[string]("spam", "blacklist", o))
	if n, err := list.Add(ctx, "café", "10.0.0.1"); n != 2 || err != nil {
		t.Fatalf("%d added: %v", n, err)
	}
	if got := read(t, m.Path("config", name)); got != `["caf\u00e9", "10.0.0.1"]` {
		t.Errorf("the file is %s", got)
	}
	version := xattr(t, m.Path("config", name), "user.kingpin.version")
	if got := list.View().Version(); got != version || !list.Contains("café") {
		t.Errorf("version %s is seen as %s", version, got)
	}
	if n, err := list.Add(ctx, "café"); n != 0 || err != nil {
		t.Errorf("%d added again: %v", n, err)
	}
	if again := xattr(t, m.Path("config", name), "user.kingpin.version"); again != version {
		t.Errorf("the same result made version %s", again)
	}
	succeed(t, m, `echo '["by hand"]' > config/`+name)
	eventually(t, "a change by hand is heard", func() bool { return list.Contains("by hand") && list.Len() == 1 })
	if n, err := list.Remove(ctx, "by hand"); n != 1 || err != nil {
		t.Errorf("%d removed: %v", n, err)
	}

	long := make([]string, 1000)
	for i := range long {
		long[i] = fmt.Sprint("item", i)
	}
	if err := list.Set(ctx, long); err != nil {
		t.Error(err)
	}
	if err := list.Set(ctx, long[:1]); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), "force") {
		t.Errorf("a list of 1000 cut to one: %v", err)
	}
	if err := list.Clear(ctx); err != nil || read(t, m.Path("config", name)) != "[]" {
		t.Errorf("cleared: %v", err)
	}
	raw := opened[*manageddata.Raw](t)(manageddata.OpenRaw("spam", "blacklist", o))
	if err := raw.Clear(ctx); err != nil || read(t, m.Path("config", name)) != "" {
		t.Errorf("emptied: %v", err)
	}

	d := opened[*decider.Deciders](t)(decider.Open(decider.Options{Dir: m.Mount}))
	gate := d.Gate("new_ranker", 7)
	if gate.Value() != 7 {
		t.Errorf("unknown, and %d", gate.Value())
	}
	if err := d.Set(ctx, "New_Ranker", 42); err != nil || gate.Value() != 42 || read(t, m.Path("decider", "new_ranker")) != "42\n" {
		t.Errorf("set to 42: %v, %d", err, gate.Value())
	}
	succeed(t, m, "echo 43 > decider/new_ranker")
	eventually(t, "the gate hears", func() bool { return gate.Value() == 43 })
	if o := shell(t, m, "echo 12.5 > decider/new_ranker"); o.code == 0 || !strings.Contains(read(t, m.Path(".error", "decider", "new_ranker")), "is not a whole number from 0 to 100") {
		t.Errorf("12.5 was set: %v", o)
	}
}

// TestLibrariesWithoutTheMount: a dead or hanging mount costs an application nothing that it had, and a process that starts meanwhile
// reads the plain files.
func TestLibrariesWithoutTheMount(t *testing.T) {
	const name = "config.manageddata.spam.blacklist"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, `echo '["one"]' > config/`+name)
	t.Setenv("KINGPIN_MOUNT", m.Mount)
	t.Setenv("KINGPIN_STATE", m.State)
	list := opened[*words](t)(manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{}))
	if !list.Contains("one") {
		t.Fatal(list.Err())
	}
	for _, pid := range m.Processes() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
	}
	late, err := manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{})
	for _, pid := range m.Processes() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	opened[*words](t)(late, err)
	if !late.Contains("one") || !list.Contains("one") {
		t.Errorf("while the mount hangs: %v", late.Err())
	}
	eventually(t, "the mount is followed again", func() bool { return strings.Contains(late.View().Version(), ".") && late.Err() == nil })
	if _, err := late.Add(t.Context(), "two"); err != nil {
		t.Error(err)
	}
	eventually(t, "everybody hears", func() bool { return list.Contains("two") && late.Contains("two") })
	crash(t, m)
	later := opened[*words](t)(manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{}))
	if !later.Contains("two") {
		t.Errorf("after the death of all processes: %v", later.Err())
	}
	if _, err := later.Add(t.Context(), "three"); !errors.Is(err, registry.ErrUnreachable) {
		t.Errorf("a change without a mount: %v", err)
	}
	startMonitor(t, o)
	eventually(t, "the mount can be written again", func() bool { _, err := later.Add(t.Context(), "three"); return err == nil })
	eventually(t, "everybody hears of it", func() bool { return list.Contains("three") && late.Contains("three") })
}

// TestFleetLibraryBesideAPythonWriter: the old class compares what is stored with its own bytes and refuses otherwise. It is refused by
// nothing but a race, and neither of them loses an item.
func TestFleetLibraryBesideAPythonWriter(t *testing.T) {
	const name, path = "config.manageddata.test.shared", "/config/manageddata/test/shared"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	kingpin(t, a, "create", name)
	eventually(t, "the name has come to the other machine", func() bool { return b.shows("config/"+name, "") })
	list := opened[*words](t)(manageddata.OpenList[string]("test", "shared", manageddata.Options{Dir: a.Mount}))
	writer := startOld(t, f, "append", path, b.Path("config", name), "python")
	var all []string
	for start := time.Now(); time.Since(start) < 5*time.Second || len(all) < enough || writer.items.Load() < enough; {
		if time.Since(start) > patience {
			t.Fatalf("ours added %d times and Python %d times", len(all), writer.items.Load())
		}
		item, began := fmt.Sprintf("café-%d", len(all)), time.Now()
		if _, err := list.Add(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		all = append(all, item)
		<-time.After(max(60*time.Millisecond, time.Since(began))) // the old one does not wait for the lock, it gives up
	}
	theirs, _ := additions(t, writer.end(t))
	if len(theirs) < enough {
		t.Errorf("Python added %d times, which proves little", len(theirs))
	}
	all = slices.Sorted(slices.Values(append(all, theirs...)))
	eventually(t, "every addition is there", func() bool { return slices.Equal(slices.Sorted(slices.Values(list.Values())), all) })
}

// TestLibrariesGoAtTheMonitorsPace: it refuses more than so many versions a minute, and then a change waits.
func TestLibrariesGoAtTheMonitorsPace(t *testing.T) {
	o := site(t)
	o.Env = append(o.Env, "KINGPIN_MAX_VERSIONS_PER_MINUTE=3")
	m := startMonitor(t, o)
	kingpin(t, m, "create", "config.manageddata.demo.busy")
	busy := opened[*sums](t)(manageddata.OpenMap[string, int]("demo", "busy", manageddata.Options{Dir: m.Mount}))
	for i := range 3 {
		if err := busy.Put(t.Context(), "n", i); err != nil {
			t.Fatal(err)
		}
	}
	err := context.DeadlineExceeded
	for limit := 3 * time.Second; errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, syscall.EDQUOT) && limit < time.Minute; limit *= 3 {
		ctx, cancel := context.WithTimeout(t.Context(), limit) // a busy machine may not even try it within three seconds
		err = busy.Put(ctx, "n", 3)
		cancel()
	}
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.EDQUOT) || !strings.Contains(err.Error(), "versions") {
		t.Errorf("the fourth change: %v", err)
	}
	if n, _ := busy.Value("n"); n != 2 {
		t.Errorf("n is %d", n)
	}
}

// TestLibrariesOnABoundFile: a container may have one file of the mount, bound. Its directory hears of nothing.
func TestLibrariesOnABoundFile(t *testing.T) {
	const name = "config.manageddata.spam.blacklist"
	m := monitor(t)
	kingpin(t, m, "create", name)
	succeed(t, m, `echo '["one"]' > config/`+name)
	dir := directory(t)
	bound := filepath.Join(dir, name)
	if err := os.WriteFile(bound, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is bound", func() bool { // ENOENT: the kernel was told to forget its entry meanwhile
		err := unix.Mount(m.Path("config", name), bound, "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() {
		if err := unix.Unmount(bound, 0); err != nil {
			t.Error(err)
		}
	})
	list := opened[*words](t)(manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{Dir: dir}))
	for _, item := range []string{"two", "three", "four"} {
		succeed(t, m, `echo '["`+item+`"]' > config/`+name)
		eventually(t, item+" is seen", func() bool { return list.Contains(item) && list.Len() == 1 })
	}
}
