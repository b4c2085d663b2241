package keeper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays every part: started again with this variable set, it is a keeper, its server, its poker, or a
// program that uses the mount. No test touches a mount from the process that runs the tests.
const roleVariable = "KEEPER_TEST_ROLE"

func TestMain(m *testing.M) {
	roles := map[string]func() error{
		"keeper": keeperMain,
		"server": serverMain,
		"poker":  Poke,
		"reader": readerMain,
		"watch":  watchMain,
		"cat":    catMain,
		"wait":   waitMain,
		"idmap":  idmapMain,

		"container": containerMain,

		"rescue": func() error { return rescue(os.Getenv("MOUNT"), os.Getenv("UNDER"), intentionFromFile) },
	}
	name := os.Getenv(roleVariable)
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		name = os.Args[1] // the keeper's children differ by their command line
	}
	role := roles[name]
	if role == nil {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		if s, ok := err.(status); ok {
			os.Exit(int(s))
		}
		os.Exit(1)
	}
	os.Exit(0)
}

// status is an error that becomes this exit status.
type status int

func (s status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// keeperMain keeps the mount point in its first argument until SIGINT or SIGTERM.
func keeperMain() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if binary := os.Getenv("BINARY"); binary != "" {
		self = binary
	}
	if err := errors.Join(impair(), enterCgroup()); err != nil {
		return err
	}
	p := pace{grace: serverGrace, probe: probePeriod}
	for name, d := range map[string]*time.Duration{"GRACE": &p.grace, "PROBE": &p.probe} {
		if text := os.Getenv(name); text != "" {
			if *d, err = time.ParseDuration(text); err != nil {
				return err
			}
		}
	}
	return run(ctx, Config{
		Mount:   os.Getenv("MOUNT"),
		Server:  []string{self, "server"},
		Poker:   []string{self, "poker"},
		Under:   os.Getenv("UNDER"),
		Cover:   os.Getenv("COVER") != "",
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Upgrade: upgrades(ctx, self),
	}, p, intentionFromFile)
}

// need skips what this machine cannot run.
func need(t *testing.T) {
	t.Helper()
	why := ""
	if os.Getuid() != 0 {
		why = "needs root to mount"
	} else if f, err := os.OpenFile(device, os.O_RDWR, 0); err != nil {
		why = err.Error()
	} else {
		f.Close()
	}
	if why != "" {
		unable(t, why)
	}
}

// unable skips aloud, unless everything is required.
func unable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatal("required, but cannot run: ", why)
	}
	t.Skip(why)
}

// monitor is a keeper under test, with the log of all its processes.
type monitor struct {
	*process
	t        *testing.T
	mount    string
	commands string // the socket on which the server takes orders
}

// did is what came of ops that a server was told to have done.
type did struct {
	results []unix.Errno
	err     string
	took    time.Duration
	thread  uint32 // the poker's
}

// do has the present server do op count times in one call.
func (m *monitor) do(count int, op Op) did {
	m.t.Helper()
	d, err := m.try(count, op)
	if err != nil {
		m.t.Fatalf("%+v: %v", op, err)
	}
	return d
}

func (m *monitor) try(count int, op Op) (did, error) {
	var d did
	conn, err := net.Dial("unix", m.commands)
	if err != nil {
		return d, err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%d\t%d\t%d\t%d\t%s\t%s\n", count, op.Kind, op.Parent, op.Node, op.Name, op.Path)
	line, err := bufio.NewReaderSize(conn, 1<<20).ReadString('\n')
	if err != nil {
		return d, err
	}
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	for text := range strings.FieldsSeq(strings.Trim(fields[0], "[]")) {
		code, err := strconv.Atoi(text)
		if err != nil {
			return d, err
		}
		d.results = append(d.results, unix.Errno(code))
	}
	d.err = fields[1]
	d.took, _ = time.ParseDuration(fields[2])
	thread, err := strconv.Atoi(fields[3])
	d.thread = uint32(thread)
	return d, err
}

// watchdogTime is far more than any test takes: then the connection is cut, which frees whoever hangs in it.
const watchdogTime = 5 * time.Minute

// newMonitor starts a keeper on a temporary directory; env goes to all its processes.
func newMonitor(t *testing.T, env ...string) *monitor {
	t.Helper()
	return startMonitor(t, newPoint(t), env...)
}

func startMonitor(t *testing.T, dir string, env ...string) *monitor {
	t.Helper()
	return startMonitorWith(t, dir, nil, env...)
}

// startMonitorWith starts a keeper that has files from an earlier one.
func startMonitorWith(t *testing.T, dir string, files []*os.File, env ...string) *monitor {
	t.Helper()
	m := &monitor{t: t, mount: dir, commands: filepath.Join(filepath.Dir(dir), "commands")}
	m.process = startWith(t, procAttr{files: files}, "keeper", append(env, "MOUNT="+dir, "COMMANDS="+m.commands)...)
	watchdog := time.AfterFunc(watchdogTime, func() {
		t.Errorf("watchdog: %s hangs, cutting it off\n%s", dir, m.log.String())
		cutOff(dir)
	})
	t.Cleanup(func() {
		watchdog.Stop()
		m.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", dir, m.log.String())
		}
		if left, _ := mountsOn(dir); len(left) > 0 {
			t.Errorf("the test leaves a mount on %s: %v", dir, left)
			cutOff(dir)
		}
		for _, pid := range m.processes() {
			t.Errorf("the test leaves process %d", pid)
			unix.Kill(pid, unix.SIGKILL)
		}
	})
	return m
}

// cutOff ends every connection mounted on dir, even of hanging servers.
func cutOff(dir string) {
	for range 10 {
		if unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) != nil {
			return
		}
	}
}

func (m *monitor) stop() {
	m.signal(unix.SIGTERM)
	m.wait(patience)
}

// serving waits until the nth server answers, and returns its pid.
func (m *monitor) serving(n int) int {
	m.t.Helper()
	var pid int
	eventually(m.t, fmt.Sprintf("server %d serves", n), func() bool {
		for line := range strings.Lines(m.log.String()) {
			if strings.Contains(strings.ReplaceAll(line, `"`, ""), "msg=serving") && strings.Contains(line, fmt.Sprintf(" incarnation=%d ", n)) {
				fmt.Sscanf(line[strings.Index(line, " pid="):], " pid=%d", &pid)
				return true
			}
		}
		if m.ended() {
			m.t.Fatalf("the keeper ended:\n%s", m.log.String())
		}
		return false
	})
	return pid
}

// says waits until the log has this line, or part of one.
func (m *monitor) says(what string) {
	m.t.Helper()
	eventually(m.t, "the log says "+what, func() bool { return strings.Contains(m.log.String(), what) })
}

// processes lists the live processes that were started with this mount in their environment.
func (m *monitor) processes(role ...string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, _ := os.ReadFile(dir + "/environ")
		args, _ := os.ReadFile(dir + "/cmdline")
		if !bytes.Contains(env, []byte("MOUNT="+m.mount+"\x00")) {
			continue
		}
		if len(role) > 0 && !bytes.Contains(args, []byte("\x00"+role[0]+"\x00")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		pids = append(pids, pid)
	}
	return pids
}

// poker waits until there is a poker other than the given ones and returns its pid.
func (m *monitor) poker(not ...int) (pid int) {
	m.t.Helper()
	eventually(m.t, "a poker runs", func() bool {
		for _, pid = range m.processes("poker") {
			if len(not) == 0 || pid != not[0] {
				return true
			}
		}
		return false
	})
	return pid
}
