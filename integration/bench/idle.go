package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/integration"
)

// idleProgram in the environment makes this binary a program that does nothing but look at the clock now and then.
const (
	idleProgram = "BENCH_IDLE"
	idleTick    = 3 * time.Second // as often as the keeper asks whether the server lives
)

// doNothing is that program; it ends with its parent.
func doNothing() {
	for range time.Tick(idleTick) {
	}
}

// roles are the processes of a monitor.
var roles = []string{"keeper", "server", "poker"}

// still is what a process did while nothing happened. Wakeups are counted beside its time since what the others on the machine do has
// little to do with them.
type still struct {
	cpu     float64 // share of one core
	wakeups float64 // a second, of any of its threads
}

func (s still) String() string { return fmt.Sprintf("%s, %.1f wakeups/s", percent(s.cpu), s.wakeups) }

// stillness is that of some processes, by role.
type stillness map[string]still

func (s stillness) all() (sum still) {
	for _, one := range s {
		sum.cpu, sum.wakeups = sum.cpu+one.cpu, sum.wakeups+one.wakeups
	}
	return sum
}

// processes are those of m by role.
func processes(m *integration.Monitor) (map[string]int, error) {
	server, err := m.Server()
	pids := map[string]int{"keeper": m.Pid(), "server": server}
	for _, pid := range m.Processes() {
		if pid != m.Pid() && pid != server {
			pids["poker"] = pid
		}
	}
	if len(pids) != len(roles) {
		err = errors.Join(err, fmt.Errorf("processes %v, want one for each of %v", pids, roles))
	}
	return pids, err
}

// startBare starts a program that does nothing in place of each process of a monitor.
func startBare() (pids map[string]int, end func(), err error) {
	pids = map[string]int{}
	var started []*exec.Cmd
	end = func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	for _, role := range roles {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), idleProgram+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			end()
			return nil, nil, err
		}
		started = append(started, cmd)
		pids[role] = cmd.Process.Pid
	}
	return pids, end, nil
}

// watchIdle looks at two sets of processes for the same while.
func watchIdle(ctx context.Context, ours, bare map[string]int, while time.Duration) (o, b stillness, err error) {
	oursBefore, bareBefore, started := snapshot(ours), snapshot(bare), time.Now()
	if err := pause(ctx, while); err != nil {
		return nil, nil, err
	}
	took := time.Since(started)
	return snapshot(ours).since(oursBefore, took), snapshot(bare).since(bareBefore, took), nil
}

// activity is what some processes have done so far, by role.
type activity map[string]threads

func (a activity) since(before activity, took time.Duration) stillness {
	s := stillness{}
	for role, now := range a {
		s[role] = now.since(before[role], took)
	}
	return s
}

// threads are those of one process, by their directory: how long each has run, and how often it has waited.
type threads map[string]struct {
	ran   time.Duration
	waits int64
}

func (t threads) since(before threads, took time.Duration) still {
	var ran time.Duration
	var waits int64
	for name, now := range t {
		ran += now.ran - before[name].ran
		waits += now.waits - before[name].waits
	}
	return still{cpu: float64(ran) / float64(took), wakeups: float64(waits) / took.Seconds()}
}

func snapshot(pids map[string]int) activity {
	all := activity{}
	for role, pid := range pids {
		all[role] = threads{}
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, task := range tasks {
			one := all[role][task]
			one.ran = time.Duration(number(filepath.Join(task, "schedstat"), ""))
			one.waits = number(filepath.Join(task, "status"), "voluntary_ctxt_switches:")
			all[role][task] = one
		}
	}
	return all
}

// number is the first one of the line of a file that begins with a word, or 0: threads come and go.
func number(path, word string) int64 {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, word)
		if fields := strings.Fields(rest); ok && len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			return n
		}
	}
	return 0
}
