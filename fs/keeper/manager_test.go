package keeper

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// standIn is a service manager: it hears what services notify, and keeps their descriptors.
type standIn struct {
	t      *testing.T
	dir    string
	conn   *net.UnixConn
	joined sync.WaitGroup

	mu     sync.Mutex
	said   []string
	stored map[string]*os.File
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{t: t, dir: t.TempDir(), stored: map[string]*os.File{}}
	var err error
	s.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s.joined.Go(s.listen)
	t.Cleanup(func() {
		s.conn.Close()
		s.joined.Wait()
		for _, f := range s.stored {
			f.Close()
		}
	})
	return s
}

func (s *standIn) listen() {
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	for {
		n, m, _, _, err := s.conn.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		s.hear(string(text[:n]), rights[:m])
	}
}

func (s *standIn) hear(text string, rights []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
	_, name, _ := strings.Cut(text, "FDNAME=")
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		s.t.Error(err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) != 1 || !strings.HasPrefix(text, "FDSTORE=1\nFDPOLL=0\n") {
			s.t.Errorf("%q with %d descriptors, %v", text, len(fds), err)
		}
		s.stored[name] = os.NewFile(uintptr(fds[0]), name)
	}
	if strings.HasPrefix(text, "FDSTOREREMOVE=1") && s.stored[name] != nil {
		s.stored[name].Close()
		delete(s.stored, name)
	}
}

func (s *standIn) holds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

// says waits for a message that begins like this.
func (s *standIn) says(what string) {
	s.t.Helper()
	eventually(s.t, "the keeper says "+what, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, text := range s.said {
			if strings.HasPrefix(text, what) {
				return true
			}
		}
		return false
	})
}

// intends sets what the stand-in answers when a keeper asks.
func (s *standIn) intends(job string) {
	if err := os.WriteFile(s.dir+"/job", []byte(job), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// env is how a service finds it.
func (s *standIn) env() []string {
	return []string{"NOTIFY_SOCKET=" + s.dir + "/notify", "JOB=" + s.dir + "/job"}
}

// start starts a keeper as the service manager would, with the descriptors that it has.
func (s *standIn) start(point string, env ...string) *monitor {
	s.t.Helper()
	s.mu.Lock()
	var names []string
	var files []*os.File
	for name, f := range s.stored {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // it may be told to close it while the keeper starts
		if err != nil {
			s.t.Fatal(err)
		}
		own := os.NewFile(uintptr(fd), name)
		defer own.Close()
		names, files = append(names, name), append(files, own)
	}
	s.mu.Unlock()
	if len(files) > 0 {
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	return startMonitorWith(s.t, point, files, append(env, s.env()...)...)
}

// intentionFromFile is what a keeper under test asks instead of systemd, unless that has started it.
func intentionFromFile(ctx context.Context) (intention, error) {
	if os.Getenv("JOB") == "" {
		return askManager(ctx)
	}
	job, err := os.ReadFile(os.Getenv("JOB"))
	if err != nil {
		return intention{}, errNoService
	}
	return intention{job: string(job), stored: 2}, nil
}

func TestStoredMountSurvivesARestartOfTheService(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	m := s.start(newPoint(t))
	m.serving(1)
	s.says("READY=1\nMAINPID=" + strconv.Itoa(m.cmd.Process.Pid) + "\n")
	eventually(t, "the descriptors are parked", func() bool { return s.holds() == 2 })
	reader := start(t, "reader", "FILE="+m.mount+"/"+fileName)
	watch := start(t, "watch", "FILE="+m.mount+"/"+fileName)
	eventually(t, "it is watched", func() bool { return strings.Contains(watch.log.String(), "watching") })
	s.intends("restart")
	const restarts = 3
	for n := range restarts {
		m.signal(unix.SIGTERM)
		if !m.wait(patience) || m.err != nil {
			t.Fatalf("the keeper does not end: %v", m.err)
		}
		if left := m.processes("server"); len(left) > 0 {
			t.Errorf("a server outlives a keeper that left: %v", left)
		}
		gone := time.Now()
		m = s.start(m.mount)
		m.serving(n + 2)
		t.Logf("served again %v after the start of the next keeper", time.Since(gone).Round(time.Millisecond))
		m.says(fmt.Sprintf("server %d: {Crash:0 OOM:0 Hang:0 Upgrade:%d}", n+2, n+1))
	}
	if stack, _ := mountsOn(m.mount); len(stack) != 1 {
		t.Errorf("mounted again: %v", stack)
	}
	eventually(t, "the poker works", func() bool {
		d := m.do(1, Op{Kind: Touch, Path: fileName})
		return d.err == "<nil>" && d.results[0] == 0
	})
	eventually(t, "the watch still hears", func() bool { return strings.Contains(watch.log.String(), "CLOSE_WRITE") })
	reader.in.Close()
	reader.wait(patience)
	t.Log(strings.TrimSpace(reader.log.String()))
	if text := reader.log.String(); !strings.Contains(text, " failed=0 ") || strings.HasPrefix(text, "reads=0") {
		t.Errorf("reader: %s", text)
	}
	s.intends("stop")
	m.leavesNothing(t)
	s.says("STOPPING=1")
	eventually(t, "the descriptors are given up", func() bool { return s.holds() == 0 })
}

func TestStoredMountSurvivesTheDeathOfTheKeeper(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	m := s.start(newPoint(t), "SERVER_OUTLIVES=1500ms")
	m.serving(1)
	eventually(t, "the descriptors are parked", func() bool { return s.holds() == 2 })
	reader := start(t, "reader", "FILE="+m.mount+"/"+fileName)
	for n, together := range []bool{false, true} {
		pids := []int{m.cmd.Process.Pid}
		if together {
			pids = append(append(pids, m.processes("server")...), m.processes("poker")...)
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		m.wait(patience)
		m = s.start(m.mount) // the old server may still be there, and has the lock
		m.serving(n + 2)
		m.says(fmt.Sprintf("server %d: {Crash:%d OOM:0 Hang:0 Upgrade:0}", n+2, n+1))
	}
	reader.in.Close()
	reader.wait(patience)
	t.Log(strings.TrimSpace(reader.log.String()))
	if text := reader.log.String(); !strings.Contains(text, " failed=0 ") || strings.HasPrefix(text, "reads=0") {
		t.Errorf("reader: %s", text)
	}
	s.intends("stop")
	m.leavesNothing(t)
}

func TestStopWithoutAnAnswerIsAStop(t *testing.T) {
	s := newStandIn(t)
	m := s.start(newPoint(t), "JOB=/no/such/file")
	m.serving(1)
	m.leavesNothing(t)
}

// What is parked is worth nothing when the mount is not there any more.
func TestStaleDescriptorsAreDropped(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	m := s.start(newPoint(t))
	m.serving(1)
	eventually(t, "the descriptors are parked", func() bool { return s.holds() == 2 })
	s.intends("restart")
	m.signal(unix.SIGTERM)
	m.wait(patience)
	if err := abort(m.mount); err != nil {
		t.Fatal(err)
	}
	m = s.start(m.mount)
	m.serving(1)
	m.cat(t)
	m.says("cannot go on with the mount of the last keeper")
	if stack, _ := mountsOn(m.mount); len(stack) != 2 {
		t.Errorf("not mounted over the dead one: %v", stack)
	}
	eventually(t, "the new ones are parked", func() bool { return s.holds() == 2 })
	s.intends("stop")
	m.leavesNothing(t)
}

// A new version may not be able to keep the promises that the old one made to the kernel.
func TestServerThatCannotGoOnGetsAMountOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	m := s.start(newPoint(t))
	m.serving(1)
	eventually(t, "the descriptors are parked", func() bool { return s.holds() == 2 })
	s.intends("restart")
	m.signal(unix.SIGTERM)
	m.wait(patience)
	m = s.start(m.mount, "SERVER_REFUSES=1") // unless it is the first
	m.says("no server can go on")
	eventually(t, "it is mounted over", func() bool { stack, _ := mountsOn(m.mount); return len(stack) == 2 })
	s.intends("stop")
	m.stop()
}

func TestManagerHearsOfHeartbeatAndUpgrade(t *testing.T) {
	s := newStandIn(t)
	m := s.start(newPoint(t), "WATCHDOG_USEC=20000")
	m.serving(1)
	poker := m.poker()
	s.says("WATCHDOG=1")
	m.upgrade(patience, "")
	s.says("RELOADING=1\nMONOTONIC_USEC=")
	eventually(t, "READY=1 is said at the start and after the upgrade", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		ready := 0
		for _, text := range s.said {
			if strings.HasPrefix(text, "READY=1") {
				ready++
			}
		}
		return ready == 2
	})
	for _, pid := range []int{m.serving(2), m.poker(poker)} {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || strings.Contains(string(env), "NOTIFY_SOCKET=") {
			t.Errorf("child %d could speak for the keeper, or is gone: %v", pid, err)
		}
	}
}

func TestRescueSparesWhatTheManagerKeeps(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	files := plainFiles(t)
	m := s.start(newPoint(t))
	m.serving(1)
	eventually(t, "the descriptors are parked", func() bool { return s.holds() == 2 })
	s.intends("") // no job: a start will follow
	children := append(m.processes("server"), m.processes("poker")...)
	for _, pid := range children {
		unix.Kill(pid, unix.SIGSTOP) // whatever they would do now
	}
	m.signal(unix.SIGKILL)
	m.wait(patience)
	rescue := func(result string) {
		t.Helper()
		p := start(t, "rescue", append(s.env(), "MOUNT="+m.mount, "UNDER="+files, "SERVICE_RESULT="+result)...)
		if !p.wait(patience) || p.err != nil {
			t.Fatalf("rescue: %v %s", p.err, p.log.String())
		}
	}
	rescue("signal")
	if stack, _ := mountsOn(m.mount); len(stack) != 1 {
		t.Errorf("rescued: %v", stack)
	}
	rescue("exit-code") // the next keeper failed before it could do anything
	showsPlain(t, m.mount)
	for _, pid := range children {
		unix.Kill(pid, unix.SIGKILL)
	}
	eventually(t, "they are gone", func() bool { return len(m.processes()) == 0 })
	if err := sweep(m.mount, files); err != nil {
		t.Error(err)
	}
}

func TestWhatSystemdSays(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/kingpin.service\n":                             "kingpin.service",
		"5:cpu:/x.service\n1:name=systemd:/system.slice/k.service/sub\n": "k.service",
		"0::/user.slice/session-1.scope\n":                               "",
		"":                                                               "",
	} {
		if unit, err := unitOf(groups); unit != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", groups, unit, err)
		}
	}
	const jobs = "5 other.service stop waiting\n6 kingpin.service restart running\n"
	if job := jobOf(jobs, "kingpin.service"); job != "restart" {
		t.Errorf("job %q", job)
	}
	if job := jobOf("", "kingpin.service"); job != "" {
		t.Errorf("job %q", job)
	}
	for _, test := range []struct {
		intention
		keeps bool
	}{
		{intention{"restart", 2}, true}, {intention{"", 2}, true}, {intention{"stop", 2}, false}, {intention{"restart", 0}, false},
	} {
		if test.intention.keeps() != test.keeps {
			t.Errorf("%+v", test)
		}
	}
}

// newPoint is a directory to mount on.
func newPoint(t *testing.T) string {
	t.Helper()
	need(t)
	dir := filepath.Join(t.TempDir(), "mount point") // the blank is escaped in mountinfo
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
