package keeper

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// containerMain binds the mount in BIND to INSIDE, in the namespaces of its own that it was started in, as a container runtime
// does for "rslave" or "HostToContainer". Then it reads each file whose name comes on standard input or, with LOOP, one of them all the time.
func containerMain() error {
	inside := os.Getenv("INSIDE")
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""),
		unix.Mount(os.Getenv("BIND"), inside, "", unix.MS_BIND|unix.MS_REC, ""),
		unix.Mount("", inside, "", unix.MS_REC|unix.MS_SLAVE, ""),
	)
	if err != nil {
		return fmt.Errorf("bind the mount in the container: %w", err)
	}
	fmt.Println("up")
	if os.Getenv("LOOP") != "" {
		return readerMain()
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		text, err := readAll(filepath.Join(inside, lines.Text()))
		fmt.Printf("answer %q %v\n", text, err)
	}
	return nil
}

func readAll(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 100)
	var n int
	err = again(func() (err error) {
		n, err = unix.Read(fd, buf)
		return err
	})
	return string(buf[:max(n, 0)]), err
}

// container is a process in namespaces of its own, with the mount bound in it.
type container struct {
	*process
	t       *testing.T
	inside  string
	answers int
}

func startContainer(t *testing.T, point string, flags uintptr, env ...string) *container {
	t.Helper()
	c := &container{t: t, inside: t.TempDir()}
	attr := &syscall.SysProcAttr{Setpgid: true, Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
		attr.GidMappings = attr.UidMappings
	}
	env = append(env, "BIND="+point, "INSIDE="+c.inside, "FILE="+filepath.Join(c.inside, fileName))
	c.process = startWith(t, procAttr{attr: attr}, "container", env...)
	eventually(t, "the container is up", func() bool {
		if c.ended() {
			t.Fatalf("container: %v %s", c.err, c.log.String())
		}
		return strings.HasPrefix(c.log.String(), "up\n")
	})
	return c
}

// reads returns what a program in the container gets from the file.
func (c *container) reads() string {
	c.t.Helper()
	c.answers++
	fmt.Fprintln(c.in, fileName)
	var last string
	eventually(c.t, "the container answers", func() bool {
		all := strings.Split(c.log.String(), "answer ")
		last = strings.TrimSpace(all[len(all)-1])
		return len(all) == c.answers+1 && strings.HasSuffix(c.log.String(), "\n")
	})
	return last
}

func TestContainersSurviveWhatHappensToTheMonitor(t *testing.T) {
	for name, flags := range map[string]uintptr{
		"mount and pid namespace": syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		"and user namespace":      syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles(t)
			under := "UNDER=" + files
			m := newMonitor(t, under)
			m.serving(1)
			served, plain := fmt.Sprintf("%q <nil>", content), fmt.Sprintf("%q <nil>", plainContent)
			c := startContainer(t, m.mount, flags)
			reader := startContainer(t, m.mount, flags, "LOOP=1")
			expect := func(when, want string) {
				t.Helper()
				eventually(t, fmt.Sprintf("%s, the container reads %s", when, want), func() bool { return c.reads() == want })
			}
			expect("at first", served)
			for n := range 5 {
				unix.Kill(m.serving(n+1), unix.SIGKILL)
			}
			m.serving(6)
			expect("after the server's deaths", served)
			reader.in.Close()
			reader.wait(patience)
			if text := reader.log.String(); !strings.Contains(text, " failed=0 ") {
				t.Errorf("reader in the container: %s", text)
			}
			for range 2 {

				for _, pid := range append([]int{m.cmd.Process.Pid}, m.processes()...) {
					unix.Kill(pid, unix.SIGKILL)
				}
				m.wait(patience)
				expect("with everything killed", `"" `+unix.ENOTCONN.Error())
				p := start(t, "rescue", "MOUNT="+m.mount, under)
				p.wait(patience)
				expect("after the rescue", plain)
				m = startMonitor(t, m.mount, under)
				m.serving(1)
				expect("when the monitor is back", served)
			}
			m.leavesNothing(t)
			expect("after a stop", `"" `+unix.ENOTCONN.Error())
		})
	}
}

// Where nobody can tell a stop from a restart, as when a pod is replaced, a container that bound the mount must not lose it.
func TestStopThatCoversTheMountSparesTheContainers(t *testing.T) {
	t.Parallel()
	env := []string{"UNDER=" + plainFiles(t), "COVER=1"}
	m := newMonitor(t, env...)
	m.serving(1)
	c := startContainer(t, m.mount, syscall.CLONE_NEWNS)
	served, plain := fmt.Sprintf("%q <nil>", content), fmt.Sprintf("%q <nil>", plainContent)
	reader := startContainer(t, m.mount, syscall.CLONE_NEWNS, "LOOP=any")
	for range 2 {
		if got := c.reads(); got != served {
			t.Fatalf("served: %s", got)
		}
		m.signal(unix.SIGTERM)
		if !m.wait(patience) || m.err != nil {
			t.Fatalf("stop: %v", m.err)
		}
		if got := c.reads(); got != plain {
			t.Fatalf("stopped: %s", got)
		}
		m = startMonitor(t, m.mount, env...)
		m.serving(1)
	}
	reader.in.Close()
	reader.wait(patience)
	if text := reader.log.String(); !strings.Contains(text, " failed=0 ") {
		t.Errorf("reader in the container: %s", text)
	}
	m.signal(unix.SIGTERM)
	m.wait(patience)
	if err := sweep(m.mount, env[0][len("UNDER="):]); err != nil {
		t.Error(err)
	}
}

// A pod with its own range of user ids gets the mount id-mapped. The kernel allows that if the server said at the mount that it can do
// without its users' ids.
func TestIDMappedReadOnlyMount(t *testing.T) {
	for _, test := range []struct {
		env, want string
	}{
		{"SERVER_MAPS_IDS=1", `owner 100000 read "hello, world\n" <nil>, write ` + unix.EROFS.Error()},
		{"", "cannot map: " + unix.EINVAL.Error()},
	} {
		m := newMonitor(t, test.env)
		server := m.serving(1)
		pod := startWith(t, procAttr{attr: &syscall.SysProcAttr{
			Setpgid: true, Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1 << 16}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1 << 16}},
		}}, "wait")
		eventually(t, "the pod is up", func() bool { return pod.log.String() == "up\n" })
		mapper := startWith(t, procAttr{attr: &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNS}}, "idmap",
			"BIND="+m.mount, "INSIDE="+t.TempDir(), fmt.Sprintf("NAMESPACE=/proc/%d/ns/user", pod.cmd.Process.Pid))
		says := func(times int) {
			t.Helper()
			eventually(t, "the id-mapped mount is "+test.want, func() bool {
				return strings.Count(mapper.log.String(), test.want+"\n") == times || mapper.ended()
			})
			if mapper.wait(0); strings.Count(mapper.log.String(), test.want+"\n") != times {
				if strings.Contains(mapper.log.String(), unix.ENOSYS.Error()) {
					unable(t, "this kernel maps no ids")
				}
				t.Fatalf("%s: %s", test.env, mapper.log.String())
			}
		}
		says(1)
		if test.env == "" {
			continue
		}
		unix.Kill(server, unix.SIGKILL)
		fmt.Fprintln(mapper.in)
		says(2)
	}
}

func waitMain() error {
	fmt.Println("up")
	os.Stdin.Read(make([]byte, 1))
	return nil
}

// idmapMain mounts BIND on INSIDE once more, read only and with the ids of NAMESPACE, and says what it finds there whenever a line comes.
func idmapMain() error {
	namespace, err := unix.Open(os.Getenv("NAMESPACE"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, os.Getenv("BIND"), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(namespace),
	})
	if err != nil {
		fmt.Println("cannot map:", err)
		return nil
	}
	inside := os.Getenv("INSIDE")
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, inside, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	path := filepath.Join(inside, fileName)
	for lines := bufio.NewScanner(os.Stdin); ; {
		var st unix.Stat_t
		err := again(func() error { return unix.Stat(path, &st) })
		text, err1 := readAll(path)
		_, err2 := open(path, unix.O_WRONLY)
		fmt.Printf("owner %d read %q %v, write %v\n", st.Uid, text, errors.Join(err, err1), err2)
		if !lines.Scan() {
			return nil
		}
	}
}
