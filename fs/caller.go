package fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// caller is who made a request. It is recorded when a file is opened: by the time it is closed the process may be gone.
type caller struct {
	thread  uint32
	process uint32 // thread group; 0 if it could not be told
	uid     uint32
	gid     uint32
	user    string // of the login, behind sudo too
	command string
}

// signalled is PF_SIGNALED of the kernel's task flags: the process is exiting because a signal killed it.
const signalled = 0x400

// otherDescriptors is how many descriptors of a process are looked at to see whether it can still write.
const otherDescriptors = 256

// callers turns uids into names, and remembers them.
type callers struct {
	mu    sync.Mutex
	users map[uint32]string
}

func newCallers() *callers { return &callers{users: map[uint32]string{}} }

func (c *callers) user(uid uint32) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok := c.users[uid]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	c.users[uid] = name
	return name
}

// caller describes who sent a request. The header carries a thread and its fsuid; the rest is in /proc.
func (f *FS) caller(h *fuse.InHeader) caller {
	c := caller{thread: h.Pid, uid: h.Uid, gid: h.Gid, process: threadGroup(h.Pid)}
	human := c.uid
	var buf [64]byte
	const unset = 1<<32 - 1
	if id, err := strconv.ParseUint(strings.TrimSpace(string(readProc(h.Pid, "loginuid", buf[:]))), 10, 32); err == nil && id != unset {
		human = uint32(id)
	}
	c.user = f.names.user(human)
	c.command = strings.TrimSpace(string(readProc(h.Pid, "comm", buf[:])))
	return c
}

// author is how the caller is named beside a version.
func (f *FS) author(c caller) string { return c.user + "@" + f.o.Host }

// String is the caller in a refusal: ann (uid 1000) by bash (pid 4711).
func (c caller) String() string {
	return fmt.Sprintf("%s (uid %d) by %s (pid %d)", c.user, c.uid, c.command, c.process)
}

func procPath(pid uint32, name string) string {
	return "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/" + name
}

// readProc reads a file of a process; nothing if it is not there. The kernel makes such a file when it is read, and in one piece. These
// are raw system calls because a writer waits for a dozen of them at each open and close: os.ReadFile takes three times as
// long (BenchmarkCaller).
func readProc(pid uint32, name string, buf []byte) []byte {
	return readRaw(unix.AT_FDCWD, procPath(pid, name), buf)
}

func readRaw(dir int, path string, buf []byte) []byte {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return nil
	}
	return buf[:n]
}

// threadGroup is the process that a thread belongs to; 0 if it is gone.
func threadGroup(thread uint32) uint32 {
	return uint32(statusField(thread, "Tgid:", 10))
}

// statusField is a number from /proc/PID/status; 0 if it is not there.
func statusField(pid uint32, field string, base int) uint64 {
	var buf [blockSize]byte
	for line := range bytes.Lines(readProc(pid, "status", buf[:])) {
		if rest, ok := bytes.CutPrefix(line, []byte(field)); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(rest)), base, 64)
			return n
		}
	}
	return 0
}

// wasKilled says whether a process is exiting because of a signal: then what it had written so far is nobody's intention.
func wasKilled(process uint32) bool {
	var buf [1024]byte
	data := readProc(process, "stat", buf[:])
	// PID (COMM) STATE PPID PGRP SESSION TTY TPGID FLAGS: comm may hold blanks and brackets itself.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&signalled != 0
}

// dying says whether a signal that ends the process waits for the thread to leave the kernel. Others do not count: a Go
// program interrupts its own system calls all the time to preempt goroutines.
func dying(thread uint32) bool {
	pending := statusField(thread, "SigPnd:", 16) | statusField(thread, "ShdPnd:", 16)
	deadly := []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL, syscall.SIGTERM}
	for _, s := range deadly {
		if pending&(1<<(uint(s)-1)) != 0 {
			return true
		}
	}
	return false
}

// writable counts the descriptors through which a process can still write to a draft, that shows itself as ino. Unknown counts as none.
// alive says that the process has any descriptors: the kernel takes them all away before it closes them for one that ends.
func writable(process uint32, draft, ino uint64) (count int, alive bool) {
	dir, err := unix.Open(procPath(process, ""), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(dir)
	var buf [blockSize]byte
	fds := descriptors(dir, buf[:])
	for _, fd := range fds {
		// A file of ours has a path, wherever it is mounted; a socket, a pipe or an epoll has none.
		if n, err := unix.Readlinkat(dir, "fd/"+fd, buf[:]); err == nil && n > 0 && buf[0] != '/' && buf[0] != '(' {
			continue
		}
		if !writes(readRaw(dir, "fdinfo/"+fd, buf[:]), ino) {
			continue
		}
		if node := nodeOf(process, fd); classify(node) == draftClass && node != draft {
			continue // of a server that died: nothing is written through it any more
		}
		count++
	}
	return count, len(fds) > 0
}

// descriptors are the first of those that a process has open, whose directory in /proc is dir.
func descriptors(dir int, buf []byte) (fds []string) {
	fd, err := unix.Openat(dir, "fdinfo", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	for len(fds) < otherDescriptors {
		n, err := retry(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil || n <= 0 {
			break
		}
		_, _, fds = unix.ParseDirent(buf[:n], otherDescriptors-len(fds), fds)
	}
	return fds
}

// writes says whether what fdinfo tells of a descriptor is that it may write to an inode.
func writes(fdinfo []byte, ino uint64) bool {
	var flags, inode uint64
	for line := range bytes.Lines(fdinfo) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		switch string(key) {
		case "flags":
			flags, _ = strconv.ParseUint(string(bytes.TrimSpace(value)), 8, 64)
		case "ino":
			inode, _ = strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return inode == ino && flags&syscall.O_ACCMODE != syscall.O_RDONLY
}

// inodeAndGeneration is the type of the file handles that FUSE makes: FILEID_INO64_GEN of linux/exportfs.h. They are the upper and the lower
// half of the node id, and the generation.
const inodeAndGeneration = 0x81

// nodeOf is the node id behind a descriptor of a process; 0 if it cannot be told. The kernel answers by itself: nothing is asked of us.
func nodeOf(process uint32, fd string) uint64 {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, procPath(process, "fd/"+fd), unix.AT_SYMLINK_FOLLOW)
	if err != nil || handle.Type() != inodeAndGeneration || handle.Size() < 8 {
		return 0
	}
	b := handle.Bytes()
	return uint64(binary.NativeEndian.Uint32(b))<<32 | uint64(binary.NativeEndian.Uint32(b[4:]))
}
