package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bodySize is about what a large config has, and more than the kernel takes in one READ.
const bodySize = 200_000

// numberedBody is JSON that shows its number in every line, so that a mixture, a prefix and a wrong length are all seen. The
// size differs from number to number.
func numberedBody(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"n\": %d, \"lines\": [\n", n)
	line := fmt.Sprintf("\"%010d the quick brown fox jumps over the lazy dog\",\n", n)
	for b.Len() < bodySize+n*7919%9001 {
		b.WriteString(line)
	}
	fmt.Fprintf(&b, "\"%d\"]}\n", n)
	return b.Bytes()
}

// bodyNumber checks that a content is exactly one numberedBody.
func bodyNumber(content []byte) (int, error) {
	var n int
	if _, err := fmt.Sscanf(string(content[:min(len(content), 32)]), "{\"n\": %d,", &n); err != nil {
		return 0, fmt.Errorf("%d bytes that begin with %.40q", len(content), content)
	}
	if want := numberedBody(n); !bytes.Equal(content, want) {
		return n, fmt.Errorf("%d bytes that begin as number %d, which has %d", len(content), n, len(want))
	}
	return n, nil
}

// readModes are the ways in which programs read a file.
var readModes = map[string]func(path string) ([]byte, error){
	"to its end": func(path string) ([]byte, error) { return os.ReadFile(path) },
	"exactly its size": func(path string) ([]byte, error) {
		f, size, err := openSized(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		content := make([]byte, size)
		n, err := unix.Read(int(f.Fd()), content)
		if err != nil {
			return nil, err
		}
		if more, err := f.Read(make([]byte, 1)); more != 0 || !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: %d bytes by fstat, and more behind them: %v", errTorn, size, err)
		}
		return content[:n], nil
	},
	"by mmap": func(path string) ([]byte, error) {
		f, size, err := openSized(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("mmap: %w", err)
		}
		return bytes.Clone(mapped), unix.Munmap(mapped)
	},
	"in small steps": func(path string) ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var content []byte
		for step := make([]byte, 3001); ; {
			n, err := f.ReadAt(step, int64(len(content)))
			content = append(content, step[:n]...)
			if errors.Is(err, io.EOF) {
				return content, nil
			}
			if err != nil {
				return nil, err
			}
		}
	},
}

var errTorn = errors.New("torn")

func openSized(path string) (*os.File, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, int(info.Size()), nil
}

// sightings are what a reader has to say in the end.
type sightings struct {
	Reads, Versions, Torn, Backwards, Failed int
	First                                    string        // the first thing that was wrong, in words
	Longest                                  time.Duration // a read took, from open to close
}

func (s *sightings) wrong(count *int, format string, args ...any) {
	*count++
	if s.First == "" {
		s.First = fmt.Sprintf(format, args...)
	}
}

// What a reader says on its way to the sightings, a line each.
const (
	sawOne     = "saw one"     // a whole version
	sawAnother = "saw another" // after it
	sawTorn    = "saw torn"    // something that is none
)

// readRole reads PATH in MODE as fast as it can until its standard input is closed, and once more, and prints its sightings.
func readRole(args []string) error {
	path, mode := args[0], readModes[args[1]]
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	var s, before sightings
	for last, lastTime := -1, false; !lastTime; s.Reads++ {
		if before.Versions == 0 && s.Versions > 0 {
			fmt.Println(sawOne)
		}
		if before.Torn == 0 && s.Torn > 0 {
			fmt.Println(sawTorn)
		}
		before, lastTime = s, over.Load()
		began := time.Now()
		content, err := mode(path)
		s.Longest = max(s.Longest, time.Since(began))
		if errors.Is(err, errTorn) {
			s.wrong(&s.Torn, "%v", err)
			continue
		}
		if err != nil {
			s.wrong(&s.Failed, "%v", err)
			continue
		}
		n, err := bodyNumber(content)
		switch {
		case err != nil:
			s.wrong(&s.Torn, "%v", err)
		case n < last:
			s.wrong(&s.Backwards, "%d after %d", n, last)
		case n > last:
			s.Versions++
			last = n
		}
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// writeRole publishes the numbers FROM to TO at PATH, by the gestures of programs in turn, and prints each when it is done.
func writeRole(args []string) error {
	path := args[0]
	from, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	to, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	for n := from; n <= to; n++ {
		if n%3 == 0 { // as an editor does
			temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".swp")
			if err = os.WriteFile(temporary, numberedBody(n), 0o644); err == nil {
				err = os.Rename(temporary, path)
			}
		} else {
			err = os.WriteFile(path, numberedBody(n), 0o644)
		}
		if err != nil {
			return fmt.Errorf("number %d: %w", n, err)
		}
		fmt.Println(n)
	}
	return nil
}

// reader is a process in a role that ends with its sightings.
type reader struct {
	mode string
	cmd  *exec.Cmd
	stop io.Closer
	out  *transcript
}

// startReader starts one and returns when it has read the file.
func startReader(t *testing.T, path, mode string) *reader {
	t.Helper()
	r := startRole(t, "read", path, mode)
	eventually(t, "who reads "+mode+" has read it", func() bool { return r.says(sawOne) })
	return r
}

func (r *reader) says(word string) bool { return strings.Contains(r.out.String(), word+"\n") }

func startRole(t *testing.T, name, path, mode string) *reader {
	t.Helper()
	cmd := role(t.Context(), t, name, path, mode)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{mode: mode, cmd: cmd, stop: stdin, out: &transcript{}}
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// sightings ends the reader and returns what it saw.
func (r *reader) sightings(t *testing.T) sightings {
	t.Helper()
	r.stop.Close()
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("reader %s: %v\n%s", r.mode, err, r.out)
	}
	var s sightings
	if err := json.Unmarshal([]byte(lastLine(r.out.String())), &s); err != nil {
		t.Fatalf("reader %s: %v\n%s", r.mode, err, r.out)
	}
	return s
}

// finish is sightings, and whatever was wrong with them fails the test.
func (r *reader) finish(t *testing.T) sightings {
	t.Helper()
	s := r.sightings(t)
	t.Logf("read %-16s %6d reads, %4d versions", r.mode, s.Reads, s.Versions)
	if s.Torn+s.Backwards+s.Failed > 0 {
		t.Errorf("read %s: %d torn, %d backwards, %d failed of %d; first: %s",
			r.mode, s.Torn, s.Backwards, s.Failed, s.Reads, s.First)
	}
	return s
}

// TestTornReads: a reader sees one whole version, however it reads, while a large config is published again and again.
func TestTornReads(t *testing.T) {
	updates := 1000
	if underLoad() {
		updates = 150
	}
	huntTornReads(t, updates, time.Minute)
}

// huntTornReads makes so many updates, or as many as a slow disk takes in so long, and 150 at least.
func huntTornReads(t *testing.T, updates int, long time.Duration) {
	t.Helper()
	const name = "config.manageddata.torn.large"
	m := monitor(t)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(0), 0o644); err != nil {
		t.Fatal(err)
	}
	var readers []*reader
	for mode := range readModes {
		readers = append(readers, startReader(t, path, mode))
	}
	last := 0
	for began := time.Now(); last < updates && (last == 0 || time.Since(began) < long); {
		batch := min(updates-last, 150)
		out := result(t, role(t.Context(), t, "write", path, strconv.Itoa(last+1), strconv.Itoa(last+batch)))
		if lines := strings.Count(out.stdout, "\n"); out.code != 0 || lines != batch {
			t.Fatalf("%d of %d updates: %s", lines, batch, out.stderr)
		}
		last += batch
	}
	for _, r := range readers {
		if s := r.finish(t); s.Versions < 2 {
			t.Errorf("read %s: saw %d versions, which proves nothing", r.mode, s.Versions)
		}
	}
	if n, err := bodyNumber([]byte(read(t, path))); err != nil || n != last {
		t.Errorf("in the end the file holds number %d, not %d: %v", n, last, err)
	}
}

// TestTornReadsAreFound: the hunt finds its prey where there is some, on a plain file that is written in place.
func TestTornReadsAreFound(t *testing.T) {
	path := filepath.Join(directory(t), "plain")
	if err := os.WriteFile(path, numberedBody(0), 0o644); err != nil {
		t.Fatal(err)
	}
	var readers []*reader
	for mode := range readModes {
		if mode != "by mmap" { // a program that maps what another cuts short is killed
			readers = append(readers, startReader(t, path, mode))
		}
	}
	eventually(t, "each of them sees something torn", func() bool {
		if out := result(t, role(t.Context(), t, "write", path, "1", "100")); out.code != 0 {
			t.Fatalf("writer: %v", out)
		}
		return !slices.ContainsFunc(readers, func(r *reader) bool { return !r.says(sawTorn) })
	})
	for _, r := range readers {
		if s := r.sightings(t); s.Torn == 0 {
			t.Errorf("read %s: nothing torn in %d reads", r.mode, s.Reads)
		}
	}
}

// TestTornOpenFileIsASnapshot: what was open before a publish shows the old version to its end, and its size.
func TestTornOpenFileIsASnapshot(t *testing.T) {
	const name = "config.manageddata.torn.snapshot"
	m := monitor(t)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	if err := os.WriteFile(path, numberedBody(1), 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	half := make([]byte, bodySize/2)
	if _, err := io.ReadFull(open, half); err != nil {
		t.Fatal(err)
	}
	for n := 2; n < 12; n++ {
		if err := os.WriteFile(path, numberedBody(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := io.ReadAll(bufio.NewReader(open))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := bodyNumber(append(half, rest...)); err != nil || n != 1 {
		t.Errorf("the open file shows %d: %v", n, err)
	}
	if info, err := open.Stat(); err != nil || info.Size() != int64(len(numberedBody(1))) {
		t.Errorf("the open file has %d bytes, %v", info.Size(), err)
	}
	if n, err := bodyNumber([]byte(read(t, path))); err != nil || n != 11 {
		t.Errorf("a new reader sees %d: %v", n, err)
	}
}

// underLoad says that the binary or the machine is slow on purpose, so that fewer repetitions have to do.
func underLoad() bool {
	return os.Getenv("KINGPIN_RACE") != "" || os.Getenv("GOMAXPROCS") == "1"
}
