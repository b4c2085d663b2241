package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that the keeper has started.
type child struct {
	identity
	cmd      *exec.Cmd
	born     time.Time
	ready    time.Time // when it said so
	conn     *os.File  // the keeper's end of the socket between them
	reaped   bool
	killed   bool          // by the keeper
	killedAt time.Duration // on the clock of sinceBoot
	why      cause         // it is about to end; crash: on its own account
	refused  string        // why it cannot serve, in its own words
	suspect  bool          // was a zombie when last looked at
}

// event is what a child did: it reported something, or it is gone. Its last report comes before its end.
type event struct {
	child  *child
	report *report
	err    error // how it ended, when there is no report
}

// bury notes that the child is reaped.
func (c *child) bury() {
	c.reaped = true
	c.conn.Close()
}

func (c *child) kill() {
	if !c.killed {
		c.killed, c.killedAt = true, sinceBoot()
	}
	_ = c.cmd.Process.Kill()
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// say sends a notice to a server, if there is one.
func (c *child) say(n notice) {
	if c != nil {
		c.tell(n)
	}
}

// tell sends a message; that the child is dying and does not hear it is normal.
func (c *child) tell(message any) {
	if text, err := json.Marshal(message); err == nil {
		_ = sendNow(c.conn, text)
	}
}

// lastWords is how long a reaped child's socket may stay open, in the hands of a process that it started. What the child has said before
// is heard in that time, or never.
const lastWords = 2 * time.Second

// spawn starts a child whose descriptors from 3 on are files, and hears its reports on conn.
func (k *keeper) spawn(p program, env []string, conn *os.File, files ...*os.File) (*child, error) {
	if len(p.argv) == 0 {
		return nil, errors.New("no command")
	}
	cmd := p.command()
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = env, k.Stdout, k.Stderr, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{identity: identify(cmd.Process.Pid), cmd: cmd, born: time.Now(), conn: conn}
	k.children = append(k.children, c)
	setOOMScore(c.pid(), k.childScore)
	heard := make(chan struct{})
	k.joined.Go(func() {
		defer close(heard)
		buf := make([]byte, maxMessage)
		for {
			r := new(report)
			if err := receive(c.conn, buf, r); err != nil {
				return
			}
			k.post(event{child: c, report: r})
		}
	})
	k.joined.Go(func() {
		err := cmd.Wait()
		c.conn.SetReadDeadline(time.Now().Add(lastWords))
		<-heard
		k.post(event{child: c, err: ending(err)})
	})
	return c, nil
}

// ending gives an orderly exit words as well.
func ending(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func (k *keeper) post(e event) {
	select {
	case k.events <- e:
	case <-k.quit:
	}
}

// zombie says that the child's first thread is dead and the child not reaped.
func (c *child) zombie() bool { return c.state() == 'Z' }

// stopped says that a signal or a debugger has stopped the child.
func (c *child) stopped() bool { return c.state() == 'T' || c.state() == 't' }

// state is the letter that ps shows; 0: unknown.
func (c *child) state() byte {
	// It is asked for every few seconds: os.ReadFile makes nine system calls of three.
	fd, err := open(fmt.Sprintf("/proc/%d/stat", c.pid()), unix.O_RDONLY)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	stat := make([]byte, 256)
	n, _ := unix.Read(fd, stat)
	stat = stat[:max(n, 0)]
	if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 0 {
		return fields[0][0]
	}
	return 0
}

// setOOMScore says how readily the kernel kills a process (-1000 to 1000) when memory is short. Best effort: lowering it
// takes a privilege, and a keeper works without.
func setOOMScore(pid int, score string) {
	if score != "" {
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(score), 0)
	}
}

// backoff paces the restarts of one child.
type backoff struct {
	streak int // deaths one after another, none of which was preceded by healthy work
}

const (
	freeRestarts = 3 // at once
	firstPause   = 20 * time.Millisecond
	maxPause     = 5 * time.Second
)

// next is how long to wait before the next start: not at all at first, then twice as long each time, with jitter.
func (b *backoff) next(healthy bool) time.Duration {
	if healthy {
		b.streak = 0
	}
	b.streak++
	if b.streak <= freeRestarts {
		return 0
	}
	pause := min(maxPause, firstPause<<min(b.streak-freeRestarts-1, 16))
	return pause/2 + rand.N(pause/2)
}
