package storm

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// peer is what the far end of the cable is called. Its namespace has no other.
const peer = "far"

// Far is a server behind a cable of its own: a veth pair whose other end is in the server's network namespace, which has no name and
// goes with the process. It needs root, iproute2 and nsenter.
type Far struct {
	*Process
	commands []string // to reach into the namespace
}

// StartFar starts one.
func StartFar(o Options) (*Far, error) {
	o.Addr = ":9090"
	p, err := start(o, syscall.CLONE_NEWNET)
	if err != nil {
		return nil, err
	}
	f := &Far{Process: p, commands: []string{"nsenter", "-t", strconv.Itoa(p.cmd.Process.Pid), "-n"}}
	// 198.18.0.0/15 is for experiments with networks (RFC 2544): nobody lives there.
	block := rand.IntN(1 << 13)
	near, far := address(block, 1), address(block, 2)
	link := fmt.Sprintf("kp%x", block)
	for _, line := range []string{
		"ip link add " + link + " type veth peer name " + peer + " netns " + f.commands[2],
		"ip addr add " + near + "/30 dev " + link,
		"ip link set " + link + " up",
	} {
		if err = run(nil, line); err != nil {
			p.Kill()
			return nil, err
		}
	}
	if err = run(f.commands, "ip addr add "+far+"/30 dev "+peer); err == nil {
		err = f.Join()
	}
	if err != nil {
		p.Kill()
		return nil, err
	}
	p.Addr = far + ":9090"
	return f, nil
}

// address is one of the four of a block.
func address(block, n int) string {
	return fmt.Sprintf("198.18.%d.%d", block>>6, block&63*4+n)
}

// Cut sets its end of the cable down: what is sent to it goes nowhere, and nothing says so.
func (f *Far) Cut() error { return run(f.commands, "ip link set "+peer+" down") }

// Join is the end of a Cut.
func (f *Far) Join() error { return run(f.commands, "ip link set "+peer+" up") }

func run(prefix []string, line string) error {
	words := append(prefix[:len(prefix):len(prefix)], strings.Fields(line)...)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
