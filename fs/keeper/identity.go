package keeper

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// identity tells a process from another one that gets its number later.
type identity struct {
	PID   int
	Start string // since boot, as the kernel says
}

// startField is where /proc/PID/stat has the start, counted from the field after the name.
const startField = 19

func identify(pid int) identity {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startField {
		return identity{PID: pid}
	}
	return identity{PID: pid, Start: string(fields[startField])}
}

// outlive returns when the process is gone. It ends on its own account, since its keeper did; but not in all eternity.
func (p identity) outlive(patience time.Duration, log *slog.Logger) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil || p.Start == "" {
		return
	}
	defer unix.Close(fd)
	if identify(p.PID) != p || gone(fd, patience) { // once the descriptor is open, the number cannot go to another process unseen
		return
	}
	log.Error("a server of the last keeper does not end, killing it", "pid", p.PID, "after", patience)
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	gone(fd, afterKill)
}

// gone waits for the end of a process.
func gone(fd int, patience time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(patience)
	_ = again(func() error {
		_, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		return err
	})
	return fds[0].Revents&unix.POLLIN != 0
}
