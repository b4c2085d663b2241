package keeper

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Causes counts the servers that were replaced, by why.
type Causes struct {
	Crash   int // ended on their own account, or killed by somebody
	OOM     int // killed by the kernel when memory was short
	Hang    int // did not answer, and were killed by the keeper
	Upgrade int // told to make room for another
}

// died is how many did not end as they should.
func (c Causes) died() int { return c.Crash + c.OOM + c.Hang }

type cause int

const (
	crash cause = iota
	oom
	hang
	upgrade
)

func (c *Causes) add(why cause) {
	*[]*int{crash: &c.Crash, oom: &c.OOM, hang: &c.Hang, upgrade: &c.Upgrade}[why]++
}

// whyDied refines crash: the kernel kills with SIGKILL when memory is short, and counts that.
func (k *keeper) whyDied(dead *child, err error) cause {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if dead.why != crash || dead.killed || !ok {
		return dead.why
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL && oomKills() > k.oomKills {
		return oom
	}
	return crash
}

// oomKills is how many processes the kernel has killed for memory: in this cgroup or, where that is not to be found out, on
// the whole machine.
func oomKills() (count int) {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	var sources []string
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) < 3:
		case fields[1] == "":
			sources = append(sources, filepath.Join("/sys/fs/cgroup", fields[2], "memory.events"))
		case fields[1] == "memory": // the first version
			sources = append(sources, filepath.Join("/sys/fs/cgroup/memory", fields[2], "memory.oom_control"))
		}
	}
	for _, source := range append(sources, "/proc/vmstat") {
		text, err := os.ReadFile(source)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if number, found := strings.CutPrefix(line, "oom_kill "); found {
				count, _ = strconv.Atoi(strings.TrimSpace(number))
				return count
			}
		}
	}
	return 0
}
