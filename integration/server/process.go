package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server's process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts a command that is killed when this process ends.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	// Ctrl-C in the terminal is for this process, which may have something to do before it ends the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that has started it, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		cmd.Wait() // how it ended is of no interest: it is killed in most cases
		close(p.done)
	}()
	return p, <-started
}

// stop ends it and waits: with a signal that it may handle, or with one that it may not.
func (p *process) stop(s os.Signal) {
	p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// pause stops it, and returns when the last of its threads has stopped.
func (p *process) pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return p.ready(ctx, func() error {
		if states := strings.Trim(ThreadStates(p.cmd.Process.Pid), "T"); states != "" {
			return fmt.Errorf("threads are still in the states %s", states)
		}
		return nil
	})
}

// ThreadStates is a letter for each thread of a process, as in proc_pid_stat(5): T is stopped, Z and X have ended. A process that is
// gone has none.
func ThreadStates(pid int) (states string) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is a good one
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		name := bytes.LastIndex(stat, []byte(") ")) // may hold any bytes, and is the only thing in parentheses
		if err == nil && name > 0 {
			states += string(stat[name+2 : name+3])
		}
	}
	return states
}

// freePort is a port of the loopback address that nobody uses. It is not among those that the kernel gives to outgoing
// connections: while the server is down on purpose, nobody else should get it.
func freePort() (int, error) {
	for range 100 {
		port := 15000 + rand.IntN(15000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 15000 and 30000")
}

// ready calls check until it returns nil.
func (p *process) ready(ctx context.Context, check func() error) error {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-retry.C:
		case <-p.done:
			return fmt.Errorf("it has ended: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		}
	}
}
