package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
)

// fleet is what the machines of one have in common.
type fleet struct {
	zk   *server.ZooKeeper
	s3   *server.S3Server
	dir  string
	conf string // the configuration file of its machines
}

// webDep is what the machines of a test's fleet follow.
const webDep = "web.dep"

// startFleet starts the servers, and makes the dependency as an operator would: from a machine without a monitor.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := startServers(t)
	f.direct(t, "dep", "create", webDep)
	return f
}

// startServers starts a fleet in which nobody has made anything.
func startServers(t *testing.T) *fleet {
	t.Helper()
	needMount(t)
	f := &fleet{zk: server.StartZooKeeper(t), s3: server.StartS3(t), dir: directory(t)}
	f.conf = f.configure(t, "kingpin.conf", f.zk.Addr, f.s3.Endpoint)
	return f
}

// configure writes a configuration file for machines that reach the servers at these addresses.
func (f *fleet) configure(t *testing.T, name, zookeeper, endpoint string) string {
	t.Helper()
	keys, conf := filepath.Join(f.dir, "aws.keys"), filepath.Join(f.dir, name)
	for path, text := range map[string]string{
		keys: fmt.Sprintf("[Credentials]\naws_access_key_id = %s\naws_secret_access_key = %s\n", f.s3.AccessKey, f.s3.SecretKey),
		conf: fmt.Sprintf("zookeeper = %s\ns3-bucket = %s\ns3-endpoint = %s\ns3-path-style = yes\naws-key-file = %s\ndependency = %s\n",
			zookeeper, f.s3.Bucket, endpoint, keys, webDep),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return conf
}

// machine starts a monitor of the fleet.
func (f *fleet) machine(t *testing.T) *Monitor {
	t.Helper()
	return startMonitor(t, f.site(t))
}

// site makes the directories of one.
func (f *fleet) site(t *testing.T) Options {
	t.Helper()
	o := site(t)
	o.Flags = []string{"--config", f.conf}
	return o
}

// direct runs a verb that has to succeed where there is no monitor.
func (f *fleet) direct(t *testing.T, args ...string) string {
	t.Helper()
	o := result(t, exec.CommandContext(t.Context(), kingpinBinary(t), append(args, "--direct", "--config", f.conf)...))
	if o.code != 0 {
		t.Fatalf("kingpin %s --direct: %v", strings.Join(args, " "), o)
	}
	return o.stdout
}

// soon is within what a fleet is given to agree again after an outage, on a machine that is ten times as slow as one that is idle.
func soon(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	started := time.Now()
	eventually(t, claim, holds)
	switch took := time.Since(started).Round(time.Millisecond); {
	case took > 10*convergence:
		t.Errorf("%s: it took %v, %v are promised", claim, took, convergence)
	case took > convergence:
		t.Logf("%s: it took %v, and %v are promised of a machine that is idle", claim, took, convergence)
	}
}

const convergence = 5 * time.Second

// shows says whether a file of the mount has this content.
func (m *Monitor) shows(elem, content string) bool {
	got, err := os.ReadFile(m.Path(elem))
	return err == nil && string(got) == content
}

// python is an interpreter with the libraries that the old system used.
func python(t *testing.T) string {
	t.Helper()
	return pythonWith(t, "kazoo, boto3")
}

// old prepares the stand-in for the Python KingPin.
func (f *fleet) old(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, python(t), append([]string{"testdata/python/old_kingpin.py"}, args...)...)
	cmd.Env = append(os.Environ(), "ZK_HOSTS="+f.zk.Addr, "S3_ENDPOINT="+f.s3.Endpoint, "S3_BUCKET="+f.s3.Bucket,
		"AWS_ACCESS_KEY_ID="+f.s3.AccessKey, "AWS_SECRET_ACCESS_KEY="+f.s3.SecretKey, "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// asOld runs one command of the stand-in that has to succeed.
func (f *fleet) asOld(t *testing.T, args ...string) string {
	t.Helper()
	o := result(t, f.old(t.Context(), t, args...))
	if o.code != 0 {
		t.Fatalf("old_kingpin.py %s: %v", strings.Join(args, " "), o)
	}
	return o.stdout
}

// TestFleetOnePublishesAnotherHears: what is written on one machine is read on the other, where inotify tells.
func TestFleetOnePublishesAnotherHears(t *testing.T) {
	const name = "config.manageddata.demo.greeting"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	heard := inotifywait(t, "b has %f", "close_write", b.Path("config"))
	hears := func(content string) {
		t.Helper()
		if got := heard.next(t); got != "b has "+name {
			t.Errorf("heard %q", got)
		}
		if got := read(t, b.Path("config", name)); got != content {
			t.Errorf("after the event b shows %q, want %q", got, content)
		}
	}
	kingpin(t, a, "create", name)
	hears("")
	for _, greeting := range []string{`{"hello": "fleet"}`, `{"hello": "again"}`} {
		succeed(t, a, "echo '"+greeting+"' > config/"+name)
		hears(greeting + "\n")
	}
	for _, key := range []string{"version", "sha256", "author", "published"} {
		if on, there := xattr(t, a.Path("config", name), "user.kingpin."+key), xattr(t, b.Path("config", name), "user.kingpin."+key); on != there || on == "" {
			t.Errorf("%s is %q on a and %q on b", key, on, there)
		}
	}
	succeed(t, b, `echo '{"hello": "a"}' > config/`+name)
	eventually(t, "and back", func() bool { return a.shows("config/"+name, "{\"hello\": \"a\"}\n") })
	status := kingpin(t, b, "status")
	if !strings.Contains(status, "zookeeper "+f.zk.Addr+"; connected for ") || !strings.Contains(status, "bucket "+f.s3.Bucket) {
		t.Errorf("status says\n%s", status)
	}
}

// TestFleetAMissingDependencyIsWaitedFor: a machine may be set up before what it follows is.
func TestFleetAMissingDependencyIsWaitedFor(t *testing.T) {
	const name = "config.manageddata.late.comer"
	f := startFleet(t)
	o := f.site(t)
	o.Flags = append(o.Flags, "--dependency", "late.dep")
	o.Unready = true
	m := startMonitor(t, o)
	eventually(t, "it says what it waits for", func() bool {
		return strings.Contains(result(t, m.Command(t.Context(), "status")).stdout, "there is no dependency late.dep")
	})
	f.direct(t, "dep", "create", "late.dep")
	f.direct(t, "create", name, "testdata/python/old_kingpin.py", "--dep", "late.dep")
	if err := m.Ready(t.Context()); err != nil { // perhaps before the name was made
		t.Fatal(err)
	}
	want := read(t, "testdata/python/old_kingpin.py")
	eventually(t, "what has come late is here", func() bool { return m.shows("config/"+name, want) })
}

// TestFleetRapidUpdates: of two hundred updates in a row the last one wins everywhere, and none is applied out of order.
func TestFleetRapidUpdates(t *testing.T) {
	const name, updates = "config.manageddata.rapid.fire", 200
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	kingpin(t, a, "create", name)
	eventually(t, "the name has come to the other machine", func() bool { return b.shows("config/"+name, "") })
	order := watchOrder(t, b.Path("config", name))
	path := a.Path("config", name)
	for n := 1; n <= updates; n++ {
		if err := os.WriteFile(path, fmt.Appendf(nil, "%08d\n", n), 0o644); err != nil {
			t.Fatalf("update %d: %v", n, err)
		}
	}
	last := fmt.Sprintf("%08d\n", updates)
	eventually(t, "the last one is here", func() bool { return a.shows("config/"+name, last) && b.shows("config/"+name, last) })
	if seen := order.stop(t); seen < 2 {
		t.Errorf("only %d of them were seen on the way, which proves nothing", seen)
	}
}

// order reads a file of numbers again and again, and complains if they go down.
type order struct {
	over   chan struct{}
	done   chan error
	values map[int]bool // seen
}

func watchOrder(t *testing.T, path string) *order {
	t.Helper()
	o := &order{over: make(chan struct{}), done: make(chan error, 1), values: map[int]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.done <- o.watch(t.Context(), path)
	}()
	t.Cleanup(func() { <-ended })
	return o
}

func (o *order) watch(ctx context.Context, path string) error {
	last := 0
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-o.over:
			return nil
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n := 0
		if len(content) > 0 {
			if _, err := fmt.Sscanf(string(content), "%d\n", &n); err != nil {
				return fmt.Errorf("%q: %w", content, err)
			}
		}
		if n < last {
			return fmt.Errorf("%d came after %d", n, last)
		}
		if n > last {
			o.values[n] = true
		}
		last = n
	}
}

// stop says how many different numbers were seen.
func (o *order) stop(t *testing.T) int {
	t.Helper()
	close(o.over)
	if err := <-o.done; err != nil {
		t.Error(err)
	}
	return len(o.values)
}
