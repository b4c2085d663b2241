package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The names of the descriptors in the service manager's store.
const (
	storedFUSE  = "kingpin-fuse"
	storedState = "kingpin-state"
)

// managerVariables are what the manager says to this process and to none of its children.
var managerVariables = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// managerPatience is how long a manager that is busy may keep a message waiting. One that it does not get may cost the service its next
// start: READY=1, the descriptors. Only the heartbeat waits for nobody.
const managerPatience = 5 * time.Second

// manager is the service manager that started this process, by the protocol of sd_notify(3) and sd_listen_fds(3). All its methods
// may be called on nil: then there is none. That a message is lost is logged and otherwise ignored.
type manager struct {
	conn    int
	address unix.Sockaddr
	beat    time.Duration // how often it wants to hear that the keeper lives; 0: not at all
	log     *slog.Logger
}

// findManager looks for it in the environment.
func findManager(log *slog.Logger) *manager {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		log.Warn("no socket to the service manager", "err", err)
		return nil
	}
	patience := unix.NsecToTimeval(managerPatience.Nanoseconds())
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	m := &manager{conn: conn, address: &unix.SockaddrUnix{Name: path}, log: log}
	if whose := os.Getenv("WATCHDOG_PID"); whose == "" || whose == strconv.Itoa(os.Getpid()) {
		usec, _ := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
		m.beat = time.Duration(usec) * time.Microsecond / 2
	}
	return m
}

func (m *manager) close() {
	if m != nil {
		unix.Close(m.conn)
	}
}

// say sends variables, and descriptors with them.
func (m *manager) say(variables string, files ...*os.File) {
	m.send(variables, 0, files...)
}

// send is say with flags of sendmsg(2).
func (m *manager) send(variables string, flags int, files ...*os.File) {
	if m == nil {
		return
	}
	var rights []byte
	for _, f := range files {
		rights = append(rights, unix.UnixRights(int(f.Fd()))...)
	}
	err := again(func() error {
		return unix.Sendmsg(m.conn, []byte(variables), rights, m.address, unix.MSG_NOSIGNAL|flags)
	})
	if err != nil && (flags&unix.MSG_DONTWAIT == 0 || !errors.Is(err, unix.EAGAIN)) {
		m.log.Warn("service manager does not hear", "say", variables, "err", err)
	}
}

// ready also ends what reloading began.
func (m *manager) ready(status string) {
	m.status(status, "READY=1", fmt.Sprintf("MAINPID=%d", os.Getpid()))
}

// status says how things are, in words that may be anybody's, and variables before them.
func (m *manager) status(words string, variables ...string) {
	m.say(strings.Join(append(variables, "STATUS="+strings.ReplaceAll(words, "\n", " ")), "\n"))
}

func (m *manager) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	m.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// park gives the manager descriptors that it hands to the next keeper, in place of those it has. It is not to look at them: the kernel
// says something about /dev/fuse with every request.
func (m *manager) park(fuse, state *os.File) {
	m.unpark()
	m.say("FDSTORE=1\nFDPOLL=0\nFDNAME="+storedFUSE, fuse)
	m.say("FDSTORE=1\nFDPOLL=0\nFDNAME="+storedState, state)
}

func (m *manager) unpark() {
	m.say("FDSTOREREMOVE=1\nFDNAME=" + storedFUSE)
	m.say("FDSTOREREMOVE=1\nFDNAME=" + storedState)
}

// ticks is the pace of alive; nil: none is wanted.
func (m *manager) ticks() <-chan time.Time {
	if m == nil || m.beat <= 0 {
		return nil
	}
	return time.Tick(m.beat)
}

func (m *manager) alive() { m.send("WATCHDOG=1", unix.MSG_DONTWAIT) } // the next one is due before it is missed

// takeParked returns what an earlier keeper has parked, by name. Descriptors of other names are not touched.
func takeParked() map[string]*os.File {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || count != len(names) {
		return nil
	}
	const first = 3 // SD_LISTEN_FDS_START
	parked := map[string]*os.File{}
	for i, name := range names {
		unix.CloseOnExec(first + i)
		if name == storedFUSE || name == storedState {
			parked[name] = os.NewFile(uintptr(first+i), name)
		}
	}
	return parked
}

// withoutManager is an environment for children.
func withoutManager(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(managerVariables, name)
	})
}

// errNoService says that this process is no systemd service.
var errNoService = errors.New("not in the control group of a service")
