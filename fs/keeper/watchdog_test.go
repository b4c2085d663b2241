package keeper

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fast is a watchdog's period for tests: 3 of them are more than a busy machine lets a server wait.
const fast = time.Second

func TestHangingServerIsReplacedAndFailsNoRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, env string
		signal    unix.Signal
	}{
		{"stopped", "SERVER_HAS_NO_STATUS=1", unix.SIGSTOP}, // so an answer that there is no such file is one
		{"deadlocked", "", unix.SIGUSR1},                    // while everything that the kernel caches is still to be had
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMonitor(t, test.env, "PROBE="+fast.String())
			server := m.serving(1)
			reader := start(t, "reader", "FILE="+m.mount+"/"+fileName)
			eventually(t, "the watchdog has had an answer", func() bool { return time.Since(m.born) > 2*fast })
			hung := time.Now()
			unix.Kill(server, test.signal)
			m.serving(2)
			took := time.Since(hung)
			m.cat(t)
			t.Logf("served again after %v", took)
			m.says(fmt.Sprintf(`msg="server does not answer, killing it" pid=%d for=%v`, server, maxMisses*fast))
			m.says("server 2: {Crash:0 OOM:0 Hang:1 Upgrade:0}")
			reader.in.Close()
			reader.wait(patience)
			if text := reader.log.String(); !strings.Contains(text, " failed=0 ") {
				t.Errorf("reader: %s", text)
			}
		})
	}
}

func TestServerThatHangsAtItsStartIsReplaced(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_STARTS_SLOWLY=1", "PROBE=500ms") // the next one has 10 s to start
	unix.Kill(m.serving(1), unix.SIGKILL)
	m.serving(3)
	m.says("server 3: {Crash:1 OOM:0 Hang:1 Upgrade:0}")
}

// When the next server cannot answer either, those who wait are told, and the mount is made anew.
func TestConnectionThatStaysStuckIsAbortedAndMountedOver(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "SERVER_IS_DEAF=1", "PROBE=500ms")
	cat := start(t, "cat", "FILE="+m.mount+"/.status/alive")
	m.serving(2)
	m.serving(3)
	m.says("aborting the connection")
	if !cat.wait(patience) || cat.err == nil {
		t.Errorf("who waited for the stuck mount waits on: %s", cat.log.String())
	}
	if stack, _ := mountsOn(m.mount); len(stack) < 2 {
		t.Errorf("not mounted over: %v", stack)
	}
}

func TestStoppedPokerIsReplacedAndTheServerSpared(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, "PROBE=1s") // a slow machine stops the server for as long as a hang takes otherwise
	server := m.serving(1)
	poker := m.poker()
	unix.Kill(poker, unix.SIGSTOP)
	m.poker(poker)
	m.says("poker does not answer, killing it")
	m.cat(t)
	if !slices.Contains(m.processes("server"), server) {
		t.Error("the server was killed for it")
	}
}

func TestSleepOfTheMachineIsNoHang(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	sleeper := exec.Command("sleep", "100")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	reader := &child{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	k := &keeper{fuse: r, pace: pace{probe: time.Hour}, server: &child{cmd: sleeper, ready: time.Now()}}
	k.Logger = slog.Default()
	for _, test := range []struct {
		away   time.Duration // since the last tick
		misses int
		killed bool
	}{
		{k.probe, 1, false},
		{k.probe, 2, false},
		{9 * k.probe, 0, false}, // asleep
		{k.probe, 1, false},
		{k.probe, 2, false},
		{k.probe, 0, true},
	} {
		k.watchdog.asked, k.watchdog.reading = reader, true
		k.watchdog.ticked = sinceBoot() - test.away
		if err := k.watch(); err != nil || k.watchdog.misses != test.misses || k.server.killed != test.killed {
			t.Errorf("%+v: misses %d, killed %v, %v", test, k.watchdog.misses, k.server.killed, err)
		}
	}
	sleeper.Wait()
}
