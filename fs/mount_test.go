package fs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The tests run the file system as it runs in life: keeper, server and poker are processes of their own, started from this test
// binary, and the tests are programs that use the mount. KINGPIN_FS_ROLE says which of them a process is.

const roleVariable = "KINGPIN_FS_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "keeper":
		err = runKeeper(os.Args[1], os.Args[2])
	case "server":
		err = runServer(os.Args[1])
	case "poker":
		err = keeper.Poke()
	case "reader":
		err = runReader(os.Args[1], os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Getenv(roleVariable), err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runKeeper(mount, state string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	role := func(name string, args ...string) []string {
		return append([]string{"/usr/bin/env", roleVariable + "=" + name, self}, args...)
	}
	return keeper.Run(ctx, keeper.Config{Mount: mount, Server: role("server", state), Poker: role("poker")})
}

func runServer(state string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	store, err := disk.Open(filepath.Join(state, "disk"), disk.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	p := &publisher{state: state, seats: &seats{all: map[string]registered{}}, store: store, hold: map[string]time.Duration{}, gates: map[string]chan struct{}{}, edges: map[registry.Dependency][]registry.Edge{}}
	for _, d := range store.Graph().Dirs {
		for _, l := range d.Links {
			p.edges[d.Name] = append(p.edges[d.Name], l.Edge)
		}
	}
	control := filepath.Join(state, "control.sock")
	os.Remove(control)
	listener, err := net.Listen("unix", control)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: p}
	go web.Serve(listener)
	defer web.Close()
	attachment, err := keeper.Attach()
	if err != nil {
		return err
	}
	group, _ := strconv.Atoi(os.Getenv("PUBLISH_GROUP"))
	fsys := New(store, Options{
		History: p.history, About: p.about, Version: p.version, Previous: p.previous, Members: p.members,
		Register: p.register, Knows: p.knows,
		Publish: p.publish, Edit: p.edit, Writable: p.writable, Host: "here", MaxBody: 1 << 20,
		Status:        map[string]func() []byte{"ready": func() []byte { return []byte("yes\n") }, "made": p.count, "held": p.holding},
		CreateByWrite: os.Getenv("CREATE_BY_WRITE") != "",
		PublishGroup:  group,
		Renames:       map[registry.Kind]bool{registry.Config: os.Getenv("RENAMES") != ""},
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	for name, d := range map[string]*time.Duration{
		"CLOSE_AFTER_SYNC": &fsys.pace.closeAfterSync, "CLOSE_AFTER_WRITE": &fsys.pace.closeAfterWrite, "OUTCOME": &fsys.pace.outcome,
	} {
		if text := os.Getenv(name); text != "" {
			if *d, err = time.ParseDuration(text); err != nil {
				return err
			}
		}
	}
	return fsys.Serve(ctx, attachment)
}

// machine is one mounted file system under test.
type machine struct {
	t      *testing.T
	mount  string
	state  string
	keeper int // its pid
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const aConfig = "config.manageddata.test.one"

// start mounts a file system with one config on a directory of its own, and takes it away when the test ends.
func start(t *testing.T, env ...string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "a mount needs root")
	}
	dir := t.TempDir()
	m := &machine{t: t, mount: filepath.Join(dir, "mnt"), state: filepath.Join(dir, "state"), log: &syncBuffer{}}
	for _, d := range []string{m.mount, m.state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, m.mount, m.state)
	cmd.Env = append(append(os.Environ(), roleVariable+"=keeper"), env...)
	cmd.Stderr = m.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.keeper = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("keeper: %v", err)
			}
		case <-time.After(patience):
			t.Error("the mount did not end")
			syscall.Unmount(m.mount, syscall.MNT_FORCE|syscall.MNT_DETACH)
			cmd.Process.Kill()
			<-ended
		}
		if strings.Contains(m.log.String(), "DATA RACE") {
			t.Error("a data race in the server")
		}
		if t.Failed() {
			t.Logf("log:\n%s", m.log)
		}
	})
	eventually(t, "mounted", func() bool {
		data, err := os.ReadFile(filepath.Join(m.mount, ".status/ready"))
		return err == nil && string(data) == "yes\n"
	})
	m.remote("config", aConfig, "first\n")
	m.wantSoon("config/"+aConfig, "first\n")
	m.announced()
	return m
}

// patience is for a machine on which everything takes its time; who reaches it hangs.
const patience = time.Minute

// announced waits until the kernel, and whoever watches, has heard of everything there is.
func (m *machine) announced() {
	m.t.Helper()
	eventually(m.t, "everything is announced", func() bool { return m.tryOrder("/quiet", "") == nil })
}

// hold has whatever is published or asked for under a name wait until it is released; held waits until so many do.
func (m *machine) hold(name string) (release func()) {
	m.t.Helper()
	m.order("/gate?name="+name, "")
	return func() {
		m.t.Helper()
		m.order("/release?name="+name, "")
	}
}

func (m *machine) held(count int) {
	m.t.Helper()
	eventually(m.t, fmt.Sprint(count, " are held up"), func() bool { return m.read(".status/held") == strconv.Itoa(count) })
}

// goesOn does some things, all at once, while something else is held up. Who has to wait for that waits for ever.
func (m *machine) goesOn(all map[string]func() error) {
	m.t.Helper()
	errs := make(chan error)
	for what, do := range all {
		done := make(chan error, 1)
		go func() { done <- do() }()
		go func() {
			select {
			case err := <-done:
				if err != nil {
					err = fmt.Errorf("%s: %w", what, err)
				}
				errs <- err
			case <-time.After(patience):
				errs <- fmt.Errorf("%s is held up", what)
			}
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			m.t.Error(err)
		}
	}
}

// order has the server do something that does not come through the mount.
func (m *machine) order(path, body string) {
	m.t.Helper()
	if err := m.tryOrder(path, body); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) tryOrder(path, body string) error {
	_, err := m.ask(path, body)
	return err
}

// ask is an order with an answer.
func (m *machine) ask(path, body string) (string, error) {
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(m.state, "control.sock"))
	}, DisableKeepAlives: true}}
	resp, err := client.Post("http://server"+path, "", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, text)
	}
	return string(text), err
}

// remoteSoon publishes from elsewhere as soon as there is a server again.
func (m *machine) remoteSoon(kind, name, body string) {
	m.t.Helper()
	eventually(m.t, "a server takes orders", func() bool {
		return m.tryOrder("/publish?kind="+kind+"&name="+name, body) == nil
	})
}

// becomes publishes from elsewhere, as soon as there is a server, and waits until the mount shows that version: its content alone may
// be that of the one before.
func (m *machine) becomes(kind, name, body string) {
	m.t.Helper()
	var version string
	eventually(m.t, "a server takes orders", func() (ok bool) {
		var err error
		version, err = m.ask("/publish?kind="+kind+"&name="+name, body)
		return err == nil
	})
	eventually(m.t, name+" is version "+version, func() bool {
		buf := make([]byte, 256)
		n, err := syscall.Getxattr(m.path(kind+"/"+name), "user.kingpin.version", buf)
		return err == nil && string(buf[:n]) == version
	})
}

// remote publishes from elsewhere in the fleet.
func (m *machine) remote(kind, name, body string) {
	m.t.Helper()
	m.order("/publish?kind="+kind+"&name="+name, body)
}

func (m *machine) path(name string) string { return filepath.Join(m.mount, name) }

func (m *machine) config() string { return m.path("config/" + aConfig) }

func (m *machine) read(name string) string {
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(data)
}

func (m *machine) want(name, content string) {
	m.t.Helper()
	if got := m.read(name); got != content {
		m.t.Errorf("%s holds %q, want %q", name, got, content)
	}
}

func (m *machine) wantSoon(name, content string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s holds %q", name, content), func() bool { return m.read(name) == content })
}

// made is how many versions the server has made.
func (m *machine) made() int {
	m.t.Helper()
	n, err := strconv.Atoi(m.read(".status/made"))
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// version of a file as its attribute says.
func (m *machine) version(name string) string {
	m.t.Helper()
	buf := make([]byte, 256)
	n, err := syscall.Getxattr(m.path(name), "user.kingpin.version", buf)
	if err != nil {
		m.t.Fatalf("version of %s: %v", name, err)
	}
	return string(buf[:n])
}

// shell runs a script with $f as the config and $d as its directory.
func (m *machine) shell(script string) (string, error) {
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "f="+m.config(), "d="+filepath.Dir(m.config()), "m="+m.mount)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatalf("skipped: %s", why)
	}
	t.Skip(why)
}
