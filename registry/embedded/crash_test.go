package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"go.uber.org/goleak"
)

// childEnv makes the test binary a process that does something to a registry until it is killed.
const childEnv = "KINGPIN_EMBEDDED_TEST_CHILD"

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := child(what, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func child(what, path string) error {
	r, err := embedded.Open(path, embedded.Options{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if what == "write" {
		return publish(context.Background(), r, os.Stdout)
	}
	_, err = io.ReadAll(os.Stdin)
	return err
}

// start runs the test binary as a child and waits until it has the file open. kill ends it at once and returns what it still said.
func start(t *testing.T, what, path string) (c *exec.Cmd, out *bufio.Reader, kill func() (said []byte)) {
	t.Helper()
	c = exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childEnv+"="+what+" "+path)
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe() // it is never written to: a child that reads its end has lost its parent
	must(t, err)
	stdout, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	out = bufio.NewReader(stdout)
	kill = sync.OnceValue(func() []byte {
		c.Process.Kill()
		said, _ := io.ReadAll(out)
		c.Wait()
		stdin.Close()
		return said
	})
	t.Cleanup(func() { kill() })
	if line, err := out.ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return c, out, kill
}

// publish has four writers publish versions of names of their own until something fails or ctx is done: a body, then the pointer. It
// prints the number of the writer and of each version once the registry has taken it.
func publish(ctx context.Context, r *embedded.Registry, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() {
			cancel(publishAs(ctx, r, writer, func(n int) error {
				mu.Lock()
				defer mu.Unlock()
				_, err := fmt.Fprintln(out, writer, n)
				return err
			}))
		})
	}
	writers.Wait()
	return context.Cause(ctx)
}

func publishAs(ctx context.Context, r *embedded.Registry, writer int, taken func(n int) error) error {
	p := numbered(writer).Pointer()
	if err := r.Create(ctx, p); err != nil && !errors.Is(err, registry.ErrExist) {
		return err
	}
	s, err := r.State(ctx, p)
	for n := latest(s.Version) + 1; err == nil; n++ {
		if err = r.Put(ctx, p.Key(version(n)), bodyOf(writer+n, n)); err != nil {
			break
		}
		if s, err = r.Advance(ctx, p, s.Version, version(n), nil); err == nil {
			err = taken(n)
		}
	}
	return err
}

// latest is the number of a version that version made.
func latest(v registry.Version) int {
	t, ok := v.Time()
	if !ok {
		return 0
	}
	return t.Nanosecond()
}

// sound checks that every pointer's version has its body, and returns their numbers.
func sound(t *testing.T, r *embedded.Registry) (numbers [4]int) {
	t.Helper()
	for writer := range numbers {
		p := numbered(writer).Pointer()
		s, err := r.State(t.Context(), p)
		must(t, err)
		if s.Version == "" {
			continue
		}
		n := latest(s.Version)
		b, err := r.Fetch(t.Context(), p.Key(s.Version))
		if err != nil || !bytes.Equal(b.Data, bodyOf(writer+n, n).Data) {
			t.Errorf("version %d of %s has a body of %d bytes, %v", n, p, len(b.Data), err)
		}
		numbers[writer] = n
	}
	return numbers
}

// TestKilledWhileWriting kills one writer after another in the middle of what it does. Every version that the registry had taken is
// there, and each has its body.
func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	var promised [4]int
	for life := range 10 {
		_, out, kill := start(t, "write", path)
		var said []byte
		for range 1 + 5*life { // the first writers are killed while their file is young
			line, err := out.ReadBytes('\n')
			must(t, err)
			said = append(said, line...)
		}
		said = append(said, kill()...)
		for line := range strings.Lines(string(said)) {
			var writer, n int
			if _, err := fmt.Sscanf(line, "%d %d\n", &writer, &n); err == nil && strings.HasSuffix(line, "\n") {
				promised[writer] = max(promised[writer], n)
			}
		}
		r, err := embedded.Open(path, embedded.Options{})
		must(t, err)
		for writer, n := range sound(t, r) {
			if n < promised[writer] {
				t.Errorf("life %d: writer %d was told that version %d is taken, and %d is there", life, writer, promised[writer], n)
			}
		}
		must(t, r.Close())
	}
	t.Logf("versions %v", promised)
}

// TestAFileCopiedWhileWriting opens copies that were read while the file changed under the reader, as a backup program makes them. Such
// a copy may be refused; what is opened is sound.
func TestAFileCopiedWhileWriting(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "registry.db")
	r := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	progress, written := io.Pipe()
	var writing sync.WaitGroup
	writing.Go(func() { publish(ctx, r, written) })
	defer writing.Wait()
	defer progress.Close()
	defer cancel()
	lines := bufio.NewReader(progress)
	opened := 0
	for i := range 30 {
		for range 5 { // the copies are of different moments
			_, err := lines.ReadBytes('\n')
			must(t, err)
		}
		data, err := os.ReadFile(path)
		must(t, err)
		backup := filepath.Join(dir, fmt.Sprintf("copy%d.db", i))
		must(t, os.WriteFile(backup, data, 0o600))
		c, err := embedded.Open(backup, embedded.Options{})
		if err != nil {
			if !errors.Is(err, embedded.ErrDamaged) {
				t.Errorf("copy %d: %v", i, err)
			}
			continue
		}
		opened++
		for writer := range 4 {
			p := numbered(writer).Pointer()
			s, err := c.State(t.Context(), p)
			if err != nil && !errors.Is(err, embedded.ErrDamaged) {
				t.Errorf("copy %d: %v", i, err)
			}
			n := latest(s.Version)
			b, err := c.Fetch(t.Context(), p.Key(s.Version))
			if err == nil && n > 0 && !bytes.Equal(b.Data, bodyOf(writer+n, n).Data) {
				t.Errorf("copy %d: version %d of %s has another body", i, n, p)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("copy %d: %v", i, err)
		}
	}
	t.Logf("%d of 30 copies could be opened", opened)
}
