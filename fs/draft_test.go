package fs

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNothingOfARefusedWriteIsPublished: a descriptor whose bytes were refused publishes nothing any more, not even the zeros that a
// truncation makes of what is gone.
func TestNothingOfARefusedWriteIsPublished(t *testing.T) {
	m := start(t)
	file, err := os.OpenFile(m.config(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("x"), 1<<20); errnoOf(err) != syscall.EFBIG {
		t.Errorf("write beyond the limit: %v, want %v", err, syscall.EFBIG)
	}
	if err := file.Truncate(3); err == nil {
		t.Error("a truncation succeeded after that")
	}
	if err := file.Close(); err != nil {
		t.Errorf("close: %v", err) // the write has told it
	}
	m.want("config/"+aConfig, "first\n")
}

// TestAppendsGoOnAfterALostRace: a descriptor that appends goes on at the end of what its bytes were put behind, however much the kernel
// thinks there is.
func TestAppendsGoOnAfterALostRace(t *testing.T) {
	m := start(t)
	file, err := os.OpenFile(m.config(), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m.remote("config", aConfig, "theirs, which is longer\n")
	want := "theirs, which is longer\n"
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := file.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			t.Fatal(err)
		}
		want += line
		m.want("config/"+aConfig, want)
	}
	got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	if err != nil || string(got) != want {
		t.Errorf("the descriptor reads %q, %v; want %q", got, err, want)
	}
}

// TestAppendWhileALostRaceIsMadeGood: what a child appends while its parent's close is published behind what others wrote, goes behind
// that too.
func TestAppendWhileALostRaceIsMadeGood(t *testing.T) {
	m := start(t)
	file, err := os.OpenFile(m.config(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("bash", "-c", "read; echo two")
	child.Stdout = file
	goOn, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("one\n"); err != nil {
		t.Fatal(err)
	}
	m.remote("config", aConfig, "theirs, which is longer\n")
	m.order("/hold?name="+aConfig, "300ms")
	closed := make(chan error, 1)
	go func() { closed <- file.Close() }()
	<-time.After(100 * time.Millisecond)
	goOn.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	m.wantSoon("config/"+aConfig, "theirs, which is longer\none\ntwo\n")
}

// TestAppendToTheVersionThatWasMeant: who says which version an append is for, is told when it is another one.
func TestAppendToTheVersionThatWasMeant(t *testing.T) {
	m := start(t)
	meant := m.version("config/" + aConfig)
	file, err := os.OpenFile(m.config(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fsetxattr(int(file.Fd()), xattrBase, []byte(meant), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("mine\n"); err != nil {
		t.Fatal(err)
	}
	m.remote("config", aConfig, "theirs\n")
	if err := file.Close(); errnoOf(err) != syscall.ESTALE {
		t.Errorf("close: %v, want %v", err, syscall.ESTALE)
	}
	m.wantSoon("config/"+aConfig, "theirs\n")
}

// TestSomebodyElsesLookHidesNothing: that another user looks for the name of a scratch file and does not see it, is not remembered
// against its owner.
func TestSomebodyElsesLookHidesNothing(t *testing.T) {
	m := start(t)
	if err := os.Chmod(filepath.Dir(filepath.Dir(m.mount)), 0o711); err != nil {
		t.Fatal(err)
	}
	out, err := m.shell(`echo mine > $d/.mine
setpriv --reuid=1234 --clear-groups cat $d/.mine 2> /dev/null
cat $d/.mine`)
	if err != nil || out != "mine\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// TestCloseBesideADeadDescriptor: a process that still holds a descriptor of a draft that died with its server, closes another one: that
// is published before the close returns.
func TestCloseBesideADeadDescriptor(t *testing.T) {
	m := start(t)
	dead, err := os.OpenFile(m.config(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	m.killServer()
	eventually(t, "a server takes orders", func() bool { return m.tryOrder("/hold?name="+aConfig, "300ms") == nil })
	if err := os.WriteFile(m.config(), []byte("second\n"), 0); err != nil {
		t.Fatal(err)
	}
	m.want("config/"+aConfig, "second\n")
}
