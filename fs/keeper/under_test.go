package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const plainContent = "plain\n"

// plainFiles is a directory that stands for the state directory's plain files.
func plainFiles(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "plain files")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(plainContent), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// showsPlain checks that the mount point shows the plain files and that nobody can write to them there.
func showsPlain(t *testing.T, point string) {
	t.Helper()
	stack, err := mountsOn(point)
	if err != nil || len(stack) == 0 || stack[len(stack)-1].fsType == fsType {
		t.Fatalf("no plain files on %s: %v %v", point, stack, err)
	}
	text, err := os.ReadFile(filepath.Join(point, fileName))
	if err != nil || string(text) != plainContent {
		t.Errorf("read %q, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(point, fileName), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
}

func (m *monitor) leavesNothing(t *testing.T) {
	t.Helper()
	m.stop()
	if stack, _ := mountsOn(m.mount); len(stack) != 0 || m.err != nil {
		t.Errorf("left behind: %v, %v", stack, m.err)
	}
}

func TestPlainFilesUnderTheMountGoWithIt(t *testing.T) {
	m := newMonitor(t, "UNDER="+plainFiles(t))
	m.serving(1)
	m.cat(t)
	if stack, _ := mountsOn(m.mount); len(stack) != 2 {
		t.Errorf("mounted: %v", stack)
	}
	m.leavesNothing(t)
}

// On the first start of all, the server has yet to make the plain files.
func TestNoPlainFilesYet(t *testing.T) {
	m := newMonitor(t, "UNDER="+filepath.Join(t.TempDir(), "later"))
	m.serving(1)
	m.cat(t)
	m.leavesNothing(t)
}

func TestDetachedMountShowsThePlainFilesUnderIt(t *testing.T) {
	under := "UNDER=" + plainFiles(t)
	m := newMonitor(t, under)
	m.serving(1)
	if err := unix.Unmount(m.mount, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if !m.wait(patience) || m.err == nil {
		t.Fatalf("keeper goes on or is content: %v", m.err)
	}
	showsPlain(t, m.mount)
	next := startMonitor(t, m.mount, under)
	next.serving(1)
	next.cat(t)
	next.leavesNothing(t)
}

func TestServerThatGivesUpLeavesThePlainFiles(t *testing.T) {
	m := newMonitor(t, "UNDER="+plainFiles(t), "SERVER_REFUSES=1") // the second one
	unix.Kill(m.serving(1), unix.SIGKILL)
	if !m.wait(patience) || m.err == nil {
		t.Fatalf("keeper goes on or is content: %v", m.err)
	}
	showsPlain(t, m.mount)
	unix.Unmount(m.mount, unix.MNT_DETACH)
}

func TestServerThatNeverServedLeavesNoPlainFiles(t *testing.T) {
	m := newMonitor(t, "UNDER="+plainFiles(t), "SERVER_DIES=3")
	if !m.wait(patience) || m.err == nil {
		t.Fatalf("keeper goes on or is content: %v", m.err)
	}
	if stack, _ := mountsOn(m.mount); len(stack) != 0 {
		t.Errorf("left behind: %v", stack)
	}
}

func TestRescue(t *testing.T) {
	files := plainFiles(t)
	under := "UNDER=" + files
	m := newMonitor(t, under)
	server := m.serving(1)
	rescue := func() {
		t.Helper()
		p := start(t, "rescue", "MOUNT="+m.mount, under)
		if !p.wait(patience) || p.err != nil {
			t.Fatalf("rescue: %v %s", p.err, p.log.String())
		}
	}
	mounts := func() int {
		stack, err := mountsOn(m.mount)
		if err != nil {
			t.Fatal(err)
		}
		return len(stack)
	}
	rescue()
	unix.Kill(server, unix.SIGSTOP)
	rescue()
	unix.Kill(server, unix.SIGCONT)
	m.cat(t)
	if n := mounts(); n != 2 {
		t.Errorf("%d mounts after the rescue of a mount whose keeper lives", n)
	}

	m.signal(unix.SIGKILL) // the others end a moment later
	m.wait(patience)
	rescue()
	showsPlain(t, m.mount)
	rescue()
	if n := mounts(); n != 3 {
		t.Errorf("%d mounts after two rescues", n)
	}
	eventually(t, "server and poker end after their keeper", func() bool { return len(m.processes()) == 0 })

	next := startMonitor(t, m.mount, under)
	next.serving(1)
	next.cat(t)
	if n := mounts(); n != 4 {
		t.Errorf("%d mounts: the dead one was detached", n)
	}
	next.leavesNothing(t)
	rescue()
	if n := mounts(); n != 0 {
		t.Errorf("%d mounts after the rescue of nothing", n)
	}
}

// A poker that was killed while it notified the kernel keeps the connection open, and everybody in it waits.
func TestRescueOfAMountThatHangs(t *testing.T) {
	t.Parallel()
	files := plainFiles(t)
	m := newMonitor(t, "SERVER_HANGS=1")
	server := m.serving(1)
	cat := start(t, "cat", "FILE="+m.mount+"/"+hangingName) // holds the directory's lock
	m.hangs()
	go m.try(1, Op{Kind: InvalidateEntry, Parent: 1, Name: "some"})
	poker := m.pokerNotifies()
	for _, pid := range []int{m.cmd.Process.Pid, server, poker} {
		unix.Kill(pid, unix.SIGKILL)
	}
	m.wait(patience)
	p := start(t, "rescue", "MOUNT="+m.mount, "UNDER="+files)
	if !p.wait(patience) || p.err != nil {
		t.Fatalf("rescue: %v %s", p.err, p.log.String())
	}
	showsPlain(t, m.mount)
	if !cat.wait(patience) {
		t.Error("who waited still waits")
	}
	if err := sweep(m.mount, files); err != nil {
		t.Error(err)
	}
}
