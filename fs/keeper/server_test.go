package keeper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// modeOf is what is wrong with this server, which an upgrade is to lead to.
func modeOf() string { return strings.Join(os.Args[min(len(os.Args), 2):], " ") }

// serverMain is the smallest file system that lives up to the contract: one directory with one file, fixed node ids, and
// whatever its poker does is answered with success. A test commands it through a socket in the file COMMANDS names.
func serverMain() error {
	if text := os.Getenv("SERVER_DIES"); text != "" {
		var code int
		fmt.Sscan(text, &code)
		fmt.Fprintln(os.Stderr, "the server says why")
		return status(code)
	}
	runtime.LockOSThread()
	if os.Getenv("SERVER_LEADER_ENDS") != "" && unix.Gettid() != unix.Getpid() {
		return unix.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	a, err := Attach()
	if err != nil {
		return err
	}
	if os.Getenv("SERVER_REFUSES") != "" && a.Incarnation > 1 {
		return status(StatusFatal)
	}
	term, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if os.Getenv("SERVER_STARTS_SLOWLY") != "" && a.Incarnation == 2 {
		select {}
	}
	fsys := &oneFile{RawFileSystem: fuse.NewDefaultRawFileSystem(), poker: a.Poker()}
	deadlocks := make(chan os.Signal, 1)
	signal.Notify(deadlocks, unix.SIGUSR1)
	go func() {
		<-deadlocks
		fsys.deadlocked.Store(true)
	}()
	switch modeOf() {
	case "crashes":
		return status(3)
	case "sleeps":
		select {}
	case "refuses":
		return errors.Join(a.Refuse(errors.New("no room at the inn")), status(StatusFatal))
	case "hurries":
		return errors.Join(a.Ready(), a.Resend())
	}
	c, err := negotiate(a, fsys)
	if err != nil {
		return err
	}
	if err := a.Prepared(); err != nil {
		return err
	}
	fsys.poker = a.Poker()
	fmt.Printf("server %d: %+v\n", a.Incarnation, a.Causes)
	switch modeOf() {
	case "crashes late":
		return status(StatusFatal)
	case "sleeps late":
		select {}
	}
	if err := lockState(); err != nil {
		return err
	}
	if a.Incarnation > 1 {
		if err := a.Resend(); err != nil && os.Getenv("SERVER_CANNOT_RESEND") == "" {
			return err
		}
	}
	go c.lead()
	if path := os.Getenv("COMMANDS"); path != "" {
		os.Remove(path)
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go obey(l, a)
	}
	if os.Getenv("SERVER_CRASHES") != "" && a.Incarnation > 1 && modeOf() != "mended" {
		return status(3) // before it is ready: how long after that it takes to end would say how healthy it was
	}
	if err := a.Ready(); err != nil {
		return err
	}
	if os.Getenv("SERVER_IS_GREEDY") != "" && a.Incarnation == 1 {
		for all := [][]byte{}; ; all = append(all, bytes.Repeat([]byte("x"), 1<<20)) {
		}
	}
	if os.Getenv("SERVER_LEADER_ENDS") != "" && a.Incarnation == 1 {
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0) // this thread alone
	}
	select {
	case <-c.ended:
		return nil
	case <-a.Done():
		more, _ := time.ParseDuration(os.Getenv("SERVER_OUTLIVES")) // to finish what it publishes
		<-time.After(more)
		return fmt.Errorf("the keeper is gone")
	case <-a.Quiesce():
		<-time.After(10 * time.Millisecond) // what it publishes
		if os.Getenv("SERVER_STUBBORN") != "" {
			select {}
		}
		return nil
	case <-term.Done():
		select {
		case <-a.Quiesce():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	if os.Getenv("SERVER_STUBBORN") != "" {
		select {}
	}
	select {
	case <-c.ended:
	case <-time.After(3 * time.Second): // who has a file open is to read it
	}
	return nil
}

// lockState makes sure that no two servers serve at once.
func lockState() error {
	path := os.Getenv("COMMANDS")
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path+".lock", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600) // never closed
	if err != nil {
		return err
	}
	for range 100 { // the threads of a dead server may last a moment longer than its first one
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return nil
		}
		<-time.After(10 * time.Millisecond)
	}
	return fmt.Errorf("another server serves: %w", err)
}

const (
	fileName = "greeting"
	fileNode = 2
	content  = "hello, world\n"

	hangingName = "hanging"

	statusNode = 3
	aliveNode  = 4
)

type oneFile struct {
	fuse.RawFileSystem
	poker      *Poker
	deadlocked atomic.Bool
}

func (f *oneFile) attr(node uint64, out *fuse.Attr) fuse.Status {
	switch node {
	case fuse.FUSE_ROOT_ID, statusNode:
		out.Mode, out.Nlink = fuse.S_IFDIR|0o755, 2
	case fileNode, aliveNode:
		out.Mode, out.Nlink, out.Size = fuse.S_IFREG|0o644, 2, uint64(len(content))
	default:
		return fuse.ENOENT
	}
	out.Ino = node
	return fuse.OK
}

func (f *oneFile) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name == hangingName {
		fmt.Println("this lookup will never be answered")
		select {}
	}
	node := map[string]uint64{fileName: fileNode, ".status": statusNode, "alive": aliveNode}[name]
	if node == 0 || node == statusNode && os.Getenv("SERVER_HAS_NO_STATUS") != "" {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = node, 1
	out.SetEntryTimeout(time.Hour)
	out.SetAttrTimeout(time.Hour)
	return f.attr(node, &out.Attr)
}

func (f *oneFile) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.attr(in.NodeId, &out.Attr)
}

func (f *oneFile) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if !f.poker.Is(in.Pid) {
		return fuse.EPERM
	}
	return f.attr(in.NodeId, &out.Attr)
}

func (f *oneFile) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY && !f.poker.Is(in.Pid) {
		return fuse.EACCES // only the poker may open for writing
	}
	if f.deadlocked.Load() || in.NodeId == aliveNode && os.Getenv("SERVER_IS_DEAF") != "" {
		select {}
	}
	if os.Getenv("SERVER_HANGS") != "" && f.poker.Is(in.Pid) {
		fmt.Println("this open will never be answered")
		select {}
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO // every read is a request
	return fuse.OK
}

func (f *oneFile) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	from := min(in.Offset, uint64(len(content)))
	return fuse.ReadResultData([]byte(content[from:])), fuse.OK
}

func (f *oneFile) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }
func (f *oneFile) Release(<-chan struct{}, *fuse.ReleaseIn)         {}
func (f *oneFile) Forget(uint64, uint64)                            {}

func (f *oneFile) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }
func (f *oneFile) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if in.Offset == 0 {
		out.AddDirEntry(fuse.DirEntry{Mode: fuse.S_IFREG, Name: fileName, Ino: fileNode})
	}
	return fuse.OK
}

// obey does ops for a test, one command line at a time: "kind parent node name path", and answers with the errno or error.
func obey(l net.Listener, a *Attachment) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fields := strings.SplitN(lines.Text(), "\t", 6)
				var count int
				var op Op
				fmt.Sscan(fields[0], &count)
				fmt.Sscan(fields[1], &op.Kind)
				fmt.Sscan(fields[2], &op.Parent)
				fmt.Sscan(fields[3], &op.Node)
				op.Name, op.Path = fields[4], fields[5]
				if op.Path != "" {
					op.Path = filepath.Join(a.Mount, op.Path)
				}
				ops := make([]Op, count)
				for i := range ops {
					ops[i] = op
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				start := time.Now()
				results, err := a.Poker().Do(ctx, ops)
				took := time.Since(start)
				cancel()
				codes := make([]int, len(results))
				for i, errno := range results {
					codes[i] = int(errno)
				}
				fmt.Fprintf(conn, "%v\t%v\t%v\t%d\n", codes, err, took, a.Poker().Thread())
			}
		}()
	}
}
