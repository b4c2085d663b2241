package storm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// variable has the options of the server that this process is to be.
const variable = "KINGPIN_STORM"

// Main is a server if this process was started to be one: then it serves until its standard input ends, and says so.
func Main() (served bool, err error) {
	said := os.Getenv(variable)
	if said == "" {
		return false, nil
	}
	var o Options
	if err := json.Unmarshal([]byte(said), &o); err != nil {
		return true, err
	}
	s, err := Serve(o)
	if err != nil {
		return true, err
	}
	defer s.Close()
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(s.Stats()); err != nil {
		return true, err
	}
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		if err := s.obey(commands.Text()); err != nil {
			return true, err
		}
		if err := answers.Encode(s.Stats()); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (s *Server) obey(command string) error {
	verb, argument, _ := strings.Cut(command, " ")
	switch verb {
	case "stats":
	case "refuse":
		s.Refuse()
	case "accept":
		return s.Accept()
	case "slow":
		d, err := time.ParseDuration(argument)
		if err != nil {
			return err
		}
		s.Slow(d)
	default:
		return fmt.Errorf("no such command: %s", command)
	}
	return nil
}

// Process is a server in a process of its own, which dies with this one.
type Process struct {
	Addr    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	done    chan struct{}
}

// Start starts this binary again to be a server.
func Start(o Options) (*Process, error) { return start(o, 0) }

func start(o Options, namespaces uintptr) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	said, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(self), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), variable+"="+string(said))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Cloneflags: namespaces}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(stdout)
	started := make(chan error)
	go func() { // the signal of death comes when the thread that has started it ends, so that thread stays
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Process.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	stats, err := p.answer()
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("start a Thrift server: %w", err)
	}
	p.Addr = stats.Addr
	return p, nil
}

// Tell has it obey: slow 200ms, refuse, accept or stats.
func (p *Process) Tell(command string) (Stats, error) {
	if _, err := fmt.Fprintln(p.stdin, command); err != nil {
		return Stats{}, err
	}
	return p.answer()
}

func (p *Process) answer() (stats Stats, err error) {
	err = p.answers.Decode(&stats)
	return stats, err
}

// Pause stops it without closing anything, as a machine does that hangs; Resume lets it go on.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume is the end of a Pause.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends it at once.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
	p.stdin.Close()
}
