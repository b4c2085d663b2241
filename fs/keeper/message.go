package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds every datagram on the sockets; it is far below the kernel's default socket buffer (208 KiB).
const maxMessage = 32 << 10

// hello is the keeper's first message to each server, and once more the first after a trial.
type hello struct {
	Trial       bool // see Prepared; there is nothing yet but Mount, Init and InitReply
	Mount       string
	Incarnation uint32
	Init        []byte // the kernel's INIT request and the reply it got; none before the first server saved them
	InitReply   []byte
	Poker       uint32 // 0 = not running at the moment
	Started     time.Time
	Causes      Causes
	LastDeath   string
}

// notice is what the keeper says to the server after the hello: one of them a message.
type notice struct {
	Poker    uint32 `json:",omitempty"` // a new poker: whatever the old one was doing is lost
	Reaped   bool   `json:",omitempty"` // the server before this one is gone with all its threads
	Saved    bool   `json:",omitempty"` // the INIT exchange is safe
	Stopping bool   `json:",omitempty"` // no more pokes
	Quiesce  bool   `json:",omitempty"` // another server takes over when this one is gone
}

// report is what a child says to the keeper: one of them a message.
type report struct {
	// From the server.
	Init      []byte `json:",omitempty"`
	InitReply []byte `json:",omitempty"`
	Prepared  bool   `json:",omitempty"` // after a trial's hello
	Refused   string `json:",omitempty"` // why it is about to end
	Ready     bool   `json:",omitempty"`

	// From the poker, before and after it reads what the keeper asked it to.
	Probing  bool `json:",omitempty"`
	Answered bool `json:",omitempty"`
}

// send writes v as one message.
func send(to *os.File, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > maxMessage {
		return fmt.Errorf("message of %d bytes: %w", len(text), unix.EMSGSIZE)
	}
	_, err = to.Write(text)
	return err
}

// sendNow sends a message if there is room for it, which there always is unless nobody has read for long. It has no deadline: that would
// pass before the message is even tried, when this process does not run for a moment.
func sendNow(to *os.File, text []byte) error {
	conn, err := to.SyscallConn()
	if err != nil {
		return err
	}
	failed := conn.Write(func(fd uintptr) bool {
		err = again(func() error {
			_, err := unix.Write(int(fd), text)
			return err
		})
		return true
	})
	return errors.Join(failed, err)
}

// receive reads one message into v, by way of buf, which has room for any; the other side's end of the socket being closed is io.EOF.
func receive(from *os.File, buf []byte, v any) error {
	n, err := from.Read(buf)
	if err != nil {
		return err
	}
	return json.Unmarshal(buf[:n], v)
}

// pair makes a connected pair of message sockets, closed on exec. mine can be read and closed concurrently; its is for a
// child.
func pair(name string) (mine, its *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair %s: %w", name, err)
	}
	its = os.NewFile(uintptr(fds[1]), name)
	if mine, err = polled(fds[0], name); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), its.Close())
	}
	return mine, its, nil
}

// drain drops what waits to be read on a socket. What was meant for the dead, nobody reads; it would fill the socket while one
// server after another dies and the poker waits for the first that answers.
func drain(socket *os.File) {
	for {
		n, _, err := unix.Recvfrom(int(socket.Fd()), make([]byte, 1), unix.MSG_DONTWAIT)
		if n == 0 || err != nil {
			return
		}
	}
}

// polled returns the descriptor of a socket as a file that can be read and closed concurrently. It makes the socket
// non-blocking, which is a property of this end, in every process that has it.
func polled(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("descriptor %d (%s): %w", fd, name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
