package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestFleetStartsWithEverythingDown: a machine that boots while ZooKeeper and S3 are down serves its last good state, and says why a
// write is refused; what it has missed comes when they do.
func TestFleetStartsWithEverythingDown(t *testing.T) {
	t.Parallel() // it waits more than it works
	const name = "config.manageddata.dark.start"
	f := startFleet(t)
	a, o := f.machine(t), f.site(t)
	kingpin(t, a, "create", name, "--dep", webDep)
	succeed(t, a, "echo one > config/"+name)
	b := startMonitor(t, o)
	eventually(t, "b has it", func() bool { return b.shows("config/"+name, "one\n") })
	stop(t, b)
	succeed(t, a, "echo two > config/"+name)
	f.zk.Kill()
	f.s3.Kill()

	b = startMonitor(t, o) // and it is ready
	if got := read(t, b.Path("config", name)); got != "one\n" {
		t.Errorf("in the dark it shows %q", got)
	}
	refusedOpen(t, b, name)
	refusedOpen(t, a, name)
	eventually(t, "status says what is away, and that the machine is ready", func() bool {
		status := kingpin(t, b, "status")
		return strings.Contains(status, "ready     yes") && strings.Contains(status, "; away for ") && strings.Contains(status, "connection refused")
	})
	if got := shell(t, b, "cat .error/config/"+name).stdout; !strings.Contains(got, "ZooKeeper") {
		t.Errorf("the reason is %q", got)
	}
	f.startZooKeeper(t)
	f.startS3(t)
	soon(t, "what b has missed is here", func() bool { return b.shows("config/"+name, "two\n") })
	soon(t, "b writes", func() bool { return os.WriteFile(b.Path("config", name), []byte("three\n"), 0o644) == nil })
	soon(t, "a has it", func() bool { return a.shows("config/"+name, "three\n") })
}

func (f *fleet) startZooKeeper(t *testing.T) {
	t.Helper()
	if err := f.zk.Start(); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) startS3(t *testing.T) {
	t.Helper()
	if err := f.s3.Start(); err != nil {
		t.Fatal(err)
	}
}

// publishDeadline is after how long a publication is given up.
const publishDeadline = 10 * time.Second

// refusedOpen: opening for writing fails at once, since shells drop what close says. Reading does not.
func refusedOpen(t *testing.T, m *Monitor, name string) {
	t.Helper()
	started := time.Now()
	file, err := os.OpenFile(m.Path("config", name), os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		file.Close()
	}
	if !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("open for writing: %v, want EHOSTUNREACH", err)
	}
	if took := time.Since(started); took > publishDeadline {
		t.Errorf("to be refused took %v, as long as a publication", took)
	}
	read(t, m.Path("config", name))
}

// TestFleetS3Down: the very first write after S3 went away is refused when the file is opened, and the first one after its return
// is not.
func TestFleetS3Down(t *testing.T) {
	const name = "config.manageddata.no.bucket"
	f := startFleet(t)
	m := f.machine(t)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo one > config/"+name)
	settled := xattr(t, m.Path("config", name), "user.kingpin.version")
	f.s3.Stop()
	passes(t, 1500*time.Millisecond) // what S3 has said last is relied on for a second
	if o := shell(t, m, "echo two > config/"+name); o.code == 0 || !strings.Contains(o.stderr, "No route to host") {
		t.Errorf("the first write: %v", o)
	}
	refusedOpen(t, m, name)
	eventually(t, "status says that S3 is away", func() bool {
		return strings.Contains(kingpin(t, m, "status"), "bucket "+f.s3.Bucket+" at "+f.s3.Endpoint+"; away for ")
	})
	f.startS3(t)
	soon(t, "a write succeeds", func() bool { return shell(t, m, "echo three > config/"+name).code == 0 })
	if got := read(t, m.Path("config", name)); got != "three\n" {
		t.Errorf("in the end it shows %q", got)
	}
	if shell(t, m, "test -e .error/config/"+name).code == 0 || xattr(t, m.Path("config", name), "user.kingpin.version") == settled {
		t.Error("it looks as if the last write had failed")
	}
}

// outages take servers away, each in a way of its own.
var outages = []struct {
	name   string
	zk, s3 bool
	hang   bool // the process stops answering, its connections stay
}{
	{name: "of ZooKeeper", zk: true},
	{name: "of S3", s3: true},
	{name: "of both", zk: true, s3: true},
	{name: "of both, which hang", zk: true, s3: true, hang: true},
}

// TestFleetOutages: outages of either server and of both, under writers on two machines. Reads never fail; no acknowledged version is
// lost; what was refused never shows up; the two machines agree within five seconds of the return.
func TestFleetOutages(t *testing.T) {
	t.Parallel() // it waits more than it works
	surviveOutages(t, time.Second)
}

func surviveOutages(t *testing.T, durations ...time.Duration) {
	const numbers, counter = "config.manageddata.load.numbers", "config.manageddata.load.counter"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	for _, name := range []string{numbers, counter} {
		kingpin(t, a, "create", name)
		eventually(t, "it has come to b", func() bool { return b.shows("config/"+name, "") })
	}
	seenA, seenB := watchOrder(t, a.Path("config", numbers)), watchOrder(t, b.Path("config", numbers))
	plain := startWriter(t, a.Path("config", numbers), writeNumber)
	adders := []*writer{startWriter(t, a.Path("config", counter), addOne), startWriter(t, b.Path("config", counter), addOne)}
	agreed := func(what string) {
		for _, m := range []*Monitor{a, b} {
			soon(t, what+", a write succeeds on "+m.Mount, func() bool {
				return shell(t, m, "kingpin put -q config.manageddata.load.probe - <<< $RANDOM$RANDOM").code == 0
			})
		}
		soon(t, what+", the machines agree", func() bool {
			return read(t, a.Path("config/config.manageddata.load.probe")) == read(t, b.Path("config/config.manageddata.load.probe"))
		})
	}
	kingpin(t, a, "create", "config.manageddata.load.probe")
	for _, d := range durations {
		for _, o := range outages {
			what := fmt.Sprintf("after %v %s", d, o.name)
			f.takeAway(t, o.zk, o.s3, o.hang)
			passes(t, d)
			f.bringBack(t, o.zk, o.s3, o.hang)
			agreed(what)
			passes(t, time.Second/2)
		}
	}
	last := plain.stop(t)
	added, unsure := 0, 0
	for _, w := range adders {
		w.stop(t)
		added, unsure = added+w.done, unsure+len(w.unknown)
	}
	t.Logf("%d numbers written, %d refused, %d unknown; %d additions, %d unknown", plain.done, len(plain.refused), len(plain.unknown), added, unsure)
	soon(t, "in the end the machines agree", func() bool {
		return read(t, a.Path("config", numbers)) == read(t, b.Path("config", numbers)) && read(t, a.Path("config", counter)) == read(t, b.Path("config", counter))
	})
	if n := number(t, read(t, a.Path("config", numbers))); n != last && (n < last || !plain.unknown[n]) {
		t.Errorf("the last number that was acknowledged is %d, and the file holds %d", last, n)
	}
	if n := number(t, read(t, a.Path("config", counter))); n < added || n > added+unsure {
		t.Errorf("%d additions were acknowledged and of %d the outcome is unknown, and the file holds %d", added, unsure, n)
	}
	for _, seen := range []*order{seenA, seenB} {
		if len(plain.refused) == 0 || seen.stop(t) < 10 {
			t.Errorf("%d were refused and %d were seen, which proves little", len(plain.refused), len(seen.values))
		}
		for n := range seen.values {
			if plain.refused[n] {
				t.Errorf("number %d was refused, and has been seen", n)
			}
		}
	}
}

func (f *fleet) takeAway(t *testing.T, zk, s3, hang bool) {
	t.Helper()
	for _, s := range []struct {
		chosen bool
		pause  func() error
		kill   func()
	}{{zk, f.zk.Pause, f.zk.Kill}, {s3, f.s3.Pause, f.s3.Kill}} {
		switch {
		case s.chosen && hang:
			if err := s.pause(); err != nil {
				t.Fatal(err)
			}
		case s.chosen:
			s.kill()
		}
	}
}

func (f *fleet) bringBack(t *testing.T, zk, s3, hang bool) {
	t.Helper()
	for _, s := range []struct {
		chosen        bool
		resume, start func() error
	}{{zk, f.zk.Resume, f.zk.Start}, {s3, f.s3.Resume, f.s3.Start}} {
		back := s.start
		if hang {
			back = s.resume
		}
		if !s.chosen {
			continue
		}
		if err := back(); err != nil {
			t.Fatal(err)
		}
	}
}

// passes lets time go by: an outage lasts.
func passes(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// writer writes a file again and again, and remembers what came of it.
type writer struct {
	over chan struct{}
	end  sync.Once
	gone chan error

	done, last       int // acknowledged: how many, and which was the last
	refused, unknown map[int]bool
}

// startWriter calls write with 1, 2, 3, ... until stop.
func startWriter(t *testing.T, path string, write func(path string, n int) error) *writer {
	t.Helper()
	w := &writer{over: make(chan struct{}), gone: make(chan error, 1), refused: map[int]bool{}, unknown: map[int]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.gone <- w.run(path, write)
	}()
	t.Cleanup(func() {
		w.end.Do(func() { close(w.over) })
		<-ended
	})
	return w
}

func (w *writer) run(path string, write func(path string, n int) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-w.over:
			return nil
		case <-tick.C:
		}
		switch err := write(path, n); {
		case err == nil:
			w.done, w.last = w.done+1, n
		case errors.Is(err, syscall.EIO):
			w.unknown[n] = true
		case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.ESTALE):
			w.refused[n] = true
		default:
			return err
		}
	}
}

// stop returns the last that was acknowledged.
func (w *writer) stop(t *testing.T) int {
	t.Helper()
	w.end.Do(func() { close(w.over) })
	if err := <-w.gone; err != nil {
		t.Error(err)
	}
	return w.last
}

// writeNumber replaces the content, as echo does. There is no other writer, so what was acknowledged can be read at once.
func writeNumber(path string, n int) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%08d\n", n)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if want := fmt.Sprintf("%08d\n", n); err == nil && string(content) != want {
		err = fmt.Errorf("acknowledged %q, and read %q", want, content)
	}
	return err
}

// addOne adds one to the number in a file, unless somebody else is faster.
func addOne(path string, _ int) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(file)
	n := 0
	if err == nil && len(content) > 0 {
		_, err = fmt.Sscanf(string(content), "%d\n", &n)
	}
	if err == nil {
		_, err = file.WriteAt(fmt.Appendf(nil, "%08d\n", n+1), 0)
	}
	return errors.Join(err, file.Close())
}

func number(t *testing.T, content string) int {
	t.Helper()
	n := 0
	if _, err := fmt.Sscanf(content, "%d\n", &n); err != nil {
		t.Fatalf("%q: %v", content, err)
	}
	return n
}
