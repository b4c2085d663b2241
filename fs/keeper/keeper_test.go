package keeper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMountReadStop(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	m.cat(t)
	stack, err := mountsOn(m.mount)
	if err != nil || len(stack) != 1 || stack[0].fsType != "fuse.kingpin" || stack[0].source != "kingpin" {
		t.Errorf("mounted: %v %v", stack, err)
	}
	m.signal(unix.SIGINT)
	if !m.wait(patience) || m.err != nil {
		t.Fatalf("stop: %v", m.err)
	}
	if stack, _ := mountsOn(m.mount); len(stack) > 0 {
		t.Errorf("still mounted: %v", stack)
	}
}

// cat reads the file once, in a process of its own.
func (m *monitor) cat(t *testing.T) {
	t.Helper()
	cat := start(t, "cat", "FILE="+m.mount+"/"+fileName)
	if !cat.wait(patience) || cat.err != nil {
		t.Fatalf("cat: %v\n%s", cat.err, cat.log.String())
	}
}

func TestKillingTheServerFailsNoRead(t *testing.T) {
	t.Parallel()
	kills := 20
	if os.Getenv("KINGPIN_SOAK") != "" {
		kills = 200
	}
	m := newMonitor(t)
	m.serving(1)
	var readers []*process
	for range 2 {
		readers = append(readers, start(t, "reader", "FILE="+m.mount+"/"+fileName))
	}
	var poked atomic.Int32
	var poking sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	poking.Go(func() { // the server may well be killed while the poker waits for its answer
		for ctx.Err() == nil {
			if d, err := m.try(1, Op{Kind: Touch, Path: fileName}); err == nil && d.err == "<nil>" && d.results[0] == 0 {
				poked.Add(1)
			}
		}
	})
	for n := range kills {
		pid := m.serving(n + 1)
		<-time.After(rand.N(2 * serverHealthy)) // anywhere in its work, now and then too early to count as healthy
		unix.Kill(pid, unix.SIGKILL)
		if n%5 == 0 {
			unix.Kill(m.poker(), unix.SIGKILL)
		}
	}
	m.serving(kills + 1)
	eventually(t, "something is poked", func() bool { return poked.Load() > 0 })
	stop()
	poking.Wait()
	m.cat(t)
	for _, r := range readers {
		r.in.Close()
		r.wait(patience)
		t.Log(strings.TrimSpace(r.log.String()))
		if text := r.log.String(); !strings.Contains(text, " failed=0 ") || strings.HasPrefix(text, "reads=0") {
			t.Errorf("reader: %s", text)
		}
	}
	all := m.takeOvers()
	t.Logf("%d take-overs: median %v, longest %v", len(all), all[len(all)/2], all[len(all)-1])
}

var tookExpr = regexp.MustCompile(`(?m)msg="serving again".* took=(\S+)$`)

// takeOvers is the time from each death to the next server's answers, sorted.
func (m *monitor) takeOvers() (all []time.Duration) {
	for _, found := range tookExpr.FindAllStringSubmatch(m.log.String(), -1) {
		d, _ := time.ParseDuration(found[1])
		all = append(all, d.Round(time.Microsecond))
	}
	slices.Sort(all)
	return all
}

// A server whose first thread is dead while another is stuck in the kernel cannot be reaped, and must not be waited for.
func TestServerIsReplacedWhenItsLeaderIsAZombie(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_LEADER_ENDS=1", "PROBE="+fast.String())
	first := m.serving(1)
	m.serving(2)
	m.cat(t)
	eventually(t, "the half dead server is gone", func() bool { return !slices.Contains(m.processes(), first) })
}

func TestCrashLoopIsPacedAndSaid(t *testing.T) {
	m := newMonitor(t, "SERVER_CRASHES=1")
	unix.Kill(m.serving(1), unix.SIGKILL)
	eventually(t, "the crash loop is in the log", func() bool {
		return strings.Count(m.log.String(), `level=ERROR msg="server keeps dying"`) >= 3
	})
	var pauses []time.Duration
	for _, found := range regexp.MustCompile(`cause="exit status 3".* next_in=(\S+)`).FindAllStringSubmatch(m.log.String(), -1) {
		pause, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, pause)
	}
	if last := pauses[len(pauses)-1]; last < 2*firstPause || last <= pauses[0] {
		t.Errorf("pauses: %v", pauses)
	}
	m.signal(unix.SIGTERM) // while no server runs
	if !m.wait(patience) || m.err != nil {
		t.Errorf("stop in a crash loop: %v", m.err)
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	var total time.Duration
	for range 100 {
		total += b.next(false)
	}
	if most := 100 * maxPause; total > most || total < most/4 {
		t.Errorf("100 deaths in a row took %v", total)
	}
	if d := b.next(true); d != 0 {
		t.Errorf("after healthy work: %v", d)
	}
}

func TestServerThatCannotServeEndsTheKeeper(t *testing.T) {
	for _, code := range []int{3, StatusFatal} {
		m := newMonitor(t, fmt.Sprint("SERVER_DIES=", code))
		if !m.wait(patience) || m.err == nil {
			t.Fatalf("status %d: keeper goes on or is content: %v", code, m.err)
		}
		for _, want := range []string{"the server says why", fmt.Sprint("exit status ", code)} {
			eventually(t, "the log says "+want, func() bool { return strings.Contains(m.log.String(), want) })
		}
		if stack, _ := mountsOn(m.mount); len(stack) > 0 {
			t.Errorf("status %d: still mounted: %v", code, stack)
		}
	}
}

func TestServerThatGivesUpLaterEndsTheKeeper(t *testing.T) {
	m := newMonitor(t, "SERVER_REFUSES=1") // the second one
	unix.Kill(m.serving(1), unix.SIGKILL)
	if !m.wait(patience) || m.err == nil {
		t.Fatalf("keeper goes on or is content: %v", m.err)
	}
}

func TestCtrlCReachesTheKeeperAlone(t *testing.T) {
	m := newMonitor(t)
	server := m.serving(1)
	for _, pid := range []int{server, m.poker()} {
		if group, err := unix.Getpgid(pid); err != nil || group != pid {
			t.Errorf("process group of %d: %d %v", pid, group, err)
		}
	}
	unix.Kill(-m.cmd.Process.Pid, unix.SIGINT) // as the terminal does
	if !m.wait(patience) || m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
	if strings.Contains(m.log.String(), "died") {
		t.Error("a child died of it")
	}
}

func TestChildrenAreKilledBeforeTheKeeper(t *testing.T) {
	m := newMonitor(t)
	score := func(pid int) string {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		return strings.TrimSpace(string(text))
	}
	server := m.serving(1)
	own := score(os.Getpid())
	want := ownOOMScore
	setOOMScore(server, ownOOMScore)
	if score(server) != ownOOMScore { // a container without CAP_SYS_RESOURCE: the keeper makes do
		want = own
	}
	setOOMScore(server, own)
	for pid, want := range map[int]string{m.cmd.Process.Pid: want, server: own, m.poker(): own} {
		if got := score(pid); got != want {
			t.Errorf("OOM score of %d: %s, want %s", pid, got, want)
		}
	}
}

func TestStopWithAnOpenFileNamesTheHolderAndHangsNobody(t *testing.T) {
	t.Parallel()
	m := newMonitor(t)
	m.serving(1)
	cat := start(t, "cat", "HOLD=1", "FILE="+m.mount+"/"+fileName)
	eventually(t, "the file is open", func() bool { return strings.Contains(cat.log.String(), "open") })
	m.signal(unix.SIGTERM)
	eventually(t, "the log names the holder", func() bool {
		return strings.Contains(m.log.String(), fmt.Sprintf("(pid %d)", cat.cmd.Process.Pid))
	})
	cat.in.Close()
	if !cat.wait(patience) {
		t.Error("the reader hangs")
	}
	if !m.wait(patience) || m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
}

func TestStopOfAServerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_STUBBORN=1", "GRACE=200ms")
	m.serving(1)
	cat := start(t, "cat", "HOLD=1", "FILE="+m.mount+"/"+fileName)
	eventually(t, "the file is open", func() bool { return strings.Contains(cat.log.String(), "open") })
	m.stop()
	if !m.ended() || m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
	cat.in.Close()
	if !cat.wait(patience) || !strings.Contains(cat.log.String(), "read -1 ") {
		t.Errorf("the reader of a file whose server is gone: %s", cat.log.String())
	}
}

// The poker waits for an answer that a hanging server owes it, and SIGKILL does not free it.
func TestStopOfAServerThatHangsWithThePokerInIt(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_STUBBORN=1", "SERVER_HANGS=1", "GRACE=200ms")
	m.serving(1)
	go m.try(1, Op{Kind: Touch, Path: fileName})
	m.hangs()
	m.stop()
	if !m.ended() || m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
	if !strings.Contains(m.log.String(), "aborting the connection") {
		t.Error("the poker was not stuck at all")
	}
}

func TestDeadMountIsMountedOverAndSweptAway(t *testing.T) {
	first := newMonitor(t)
	first.serving(1)
	for range 2 { // two keepers die, the third finds both their mounts
		first.signal(unix.SIGKILL)
		first.wait(patience)
		eventually(t, "server and poker end after their keeper", func() bool { return len(first.processes()) == 0 })
		second := startMonitor(t, first.mount)
		second.serving(1)
		second.cat(t)
		first = second
	}
	if stack, _ := mountsOn(first.mount); len(stack) != 3 {
		t.Errorf("a dead mount was detached: %v", stack)
	}
	first.stop()
	if stack, _ := mountsOn(first.mount); len(stack) != 0 || first.err != nil {
		t.Errorf("left behind: %v, %v", stack, first.err)
	}
}

func TestAbortedConnectionIsMountedOver(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	cat := start(t, "cat", "HOLD=1", "FILE="+m.mount+"/"+fileName) // so that only the connection ends
	eventually(t, "the file is open", func() bool { return strings.Contains(cat.log.String(), "open") })
	if err := unix.Unmount(m.mount, unix.MNT_FORCE); err != unix.EBUSY {
		t.Fatalf("umount -f of a busy mount: %v", err)
	}
	m.serving(2)
	m.cat(t)
	m.stop()
	if m.err != nil {
		t.Errorf("stop: %v", m.err)
	}
}

func TestSomebodyElseUnmounts(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	eventually(t, "umount", func() bool { return unix.Unmount(m.mount, 0) == nil })
	if !m.wait(patience) || m.err == nil {
		t.Fatalf("keeper goes on or is content: %v", m.err)
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(m.log.String(), errUnmounted.Error()) })
}

func TestServerOutsideAKeeperSaysSo(t *testing.T) {
	p := start(t, "server", "COMMANDS="+filepath.Join(t.TempDir(), "c"))
	if !p.wait(patience) || p.err == nil || !strings.Contains(p.log.String(), "started by its keeper only") {
		t.Errorf("%v: %s", p.err, p.log.String())
	}
}

// Out of memory, the kernel may kill a whole container. A poker in the middle of a call must not keep the connection open
// that it waits for.
func TestWholeMonitorKilledWhileThePokerCalls(t *testing.T) {
	m := newMonitor(t, "SERVER_HANGS=1")
	server := m.serving(1)
	go m.try(1, Op{Kind: Touch, Path: fileName})
	m.hangs()
	for _, pid := range []int{m.cmd.Process.Pid, server, m.poker()} {
		unix.Kill(pid, unix.SIGKILL)
	}
	eventually(t, "they are gone", func() bool { return len(m.processes()) == 0 })
	next := startMonitor(t, m.mount)
	next.serving(1)
	next.cat(t)
}

// A poker in the middle of a notification does keep it open. The next keeper ends that.
func TestWholeMonitorKilledWhileThePokerNotifies(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_HANGS=1")
	server := m.serving(1)
	start(t, "cat", "FILE="+m.mount+"/"+hangingName) // holds the directory's lock
	m.hangs()
	go m.try(1, Op{Kind: InvalidateEntry, Parent: 1, Name: "some"})
	poker := m.pokerNotifies()
	for _, pid := range []int{m.cmd.Process.Pid, server, poker} {
		unix.Kill(pid, unix.SIGKILL)
	}
	m.wait(patience)
	next := startMonitor(t, m.mount)
	next.serving(1)
	next.cat(t)
	if stack, _ := mountsOn(m.mount); len(stack) != 2 {
		t.Errorf("the hanging mount was detached: %v", stack)
	}
	eventually(t, "the poker is gone", func() bool { return unix.Kill(poker, 0) != nil })
}

// When it is the keeper alone that is killed, server and poker follow it.
func TestKeeperKilledWhileThePokerCalls(t *testing.T) {
	m := newMonitor(t, "SERVER_HANGS=1")
	m.serving(1)
	go m.try(1, Op{Kind: Touch, Path: fileName})
	m.hangs()
	m.signal(unix.SIGKILL)
	eventually(t, "they are gone", func() bool { return len(m.processes()) == 0 })
	startMonitor(t, m.mount).serving(1)
}

// pokerNotifies waits until the poker waits in the kernel with a notification, and returns its pid.
func (m *monitor) pokerNotifies() int {
	m.t.Helper()
	poker := m.poker()
	eventually(m.t, "the poker waits for the directory", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", poker))
		return slices.ContainsFunc(tasks, func(task string) bool {
			text, _ := os.ReadFile(task)
			return strings.HasPrefix(string(text), fmt.Sprintf("%d %#x ", unix.SYS_WRITE, pokerFUSE))
		})
	})
	return poker
}

// hangs waits until the server has a request that it will not answer.
func (m *monitor) hangs() {
	m.t.Helper()
	eventually(m.t, "a request hangs", func() bool { return strings.Contains(m.log.String(), "will never be answered") })
}
