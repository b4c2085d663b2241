package zookeeper_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// contender is a Python publisher.
type contender struct {
	in  io.Writer
	out *bufio.Scanner
}

// python is an interpreter that has kazoo. Debian's may not be the first one.
func python(t *testing.T) string {
	t.Helper()
	for _, interpreter := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(interpreter, "-c", "import kazoo").Run() == nil {
			return interpreter
		}
	}
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatal("this needs Debian's python3-kazoo, and KINGPIN_REQUIRE=all")
	}
	t.Skip("SKIPPED: this needs Debian's python3-kazoo")
	return ""
}

func startContender(t *testing.T, servers string, p registry.Pointer) *contender {
	t.Helper()
	cmd := exec.Command(python(t), "testdata/contender.py", servers, string(p))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c := &contender{in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the Python publisher: %v", err)
		}
	})
	c.expect(t, "ready")
	return c
}

func (c *contender) tell(t *testing.T, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		t.Fatal(err)
	}
}

func (c *contender) expect(t *testing.T, want string) {
	t.Helper()
	if !c.out.Scan() || c.out.Text() != want {
		t.Fatalf("the Python publisher says %q, want %q: %v", c.out.Text(), want, c.out.Err())
	}
}

func (c *contender) do(t *testing.T, word, want string) {
	t.Helper()
	c.tell(t, word)
	c.expect(t, want)
}

// TestPythonLock: a Python publisher and ours exclude each other, and are served in the order of the queue.
func TestPythonLock(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	c := open(t, servers, zookeeper.Options{LockTimeout: patience})
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	python := startContender(t, servers, blacklist.Pointer())

	// Ours comes first: theirs, which does not wait, is refused.
	_, err := c.Advance(t.Context(), blacklist.Pointer(), "", v1, func(context.Context) error {
		python.do(t, "try", "busy")
		python.do(t, "list", "1")
		python.tell(t, "wait")
		return nil
	})
	must(t, err)
	python.expect(t, "held")

	// Theirs comes first: ours waits, and does not lose what they publish meanwhile.
	impatient := open(t, servers, zookeeper.Options{LockTimeout: 100 * time.Millisecond})
	_, err = impatient.Advance(t.Context(), blacklist.Pointer(), v1, v2, nil)
	refused(t, err, registry.ErrTimeout, "advance while Python holds the lock")
	if !strings.Contains(fmt.Sprint(err), "__lock__") {
		t.Errorf("the error does not name the holder: %v", err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := c.Advance(context.Background(), blacklist.Pointer(), v1, v2, nil)
		waited <- err
	}()
	eventually(t, func() error {
		python.tell(t, "list")
		if python.out.Scan(); python.out.Text() != "2" {
			return errors.New("in the queue there are " + python.out.Text())
		}
		return nil
	})
	python.do(t, "set "+string(v3), "set")
	python.do(t, "free", "free")
	refused(t, <-waited, registry.ErrConflict, "advance over what Python has published meanwhile")
	s := advance(t, c, blacklist.Pointer(), v3, v2)
	if s.Version != v2 {
		t.Errorf("it is at %s", s.Version)
	}
	python.do(t, "try", "held")
	python.do(t, "free", "free")
}
