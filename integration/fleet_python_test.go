package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestFleetOldBytes is the walk-through of the Python KingPin: a config, a dependency, one in the other, a monitor that follows it,
// and somebody who publishes elsewhere. What is in ZooKeeper and in S3 then is what the old system would have written, to the byte.
func TestFleetOldBytes(t *testing.T) {
	const name, dep = "config.manageddata.test.test_config", "test_dependency.dep"
	f := startServers(t)
	f.direct(t, "dep", "create", dep)
	o := f.site(t)
	o.Flags = append(o.Flags, "--dependency", dep)
	here := startMonitor(t, o)
	elsewhere := site(t)
	elsewhere.Flags = o.Flags
	there := startMonitor(t, elsewhere)
	kingpin(t, there, "create", name, "--dep", dep)
	kingpin(t, there, "dep", "add", dep, name)
	if err := os.WriteFile(there.Path("config", name), []byte(`["test_data"]`), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file has the content", func() bool { return here.shows("config/"+name, `["test_data"]`) })
	if got, want := f.asOld(t, "dump"), read(t, "testdata/walkthrough.golden"); got != want {
		t.Errorf("ZooKeeper and S3 hold\n%s\nand the old system would have written\n%s", got, want)
	}
}

// TestFleetOldDownloader: scripts that call zk_download_data.py go on with a link to kingpin.
func TestFleetOldDownloader(t *testing.T) {
	const name, path = "config.manageddata.test.test_config", "/config/manageddata/test/test_config"
	f := startFleet(t)
	link, file, hosts := filepath.Join(f.dir, "zk_download_data.py"), filepath.Join(f.dir, "got"), filepath.Join(f.dir, "hosts")
	if err := os.Symlink(kingpinBinary(t), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hosts, []byte(f.zk.Addr+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.direct(t, "create", name, "testdata/walkthrough.golden")
	f.asOld(t, "create", "/config/first")
	f.asOld(t, "set", "/config/first", "the content itself\n")
	for _, c := range []struct {
		args string
		want string
		code int
	}{
		{"-m config -p " + path + " --from-s3 /data" + path, read(t, "testdata/walkthrough.golden"), 0},
		{"-m config -p " + path + " --from-s3 /data" + path, read(t, "testdata/walkthrough.golden"), 123},
		{"-m config -p /config/first", "the content itself\n", 0},
		{"-m config -p /config/second", "the content itself\n", 6},
	} {
		args := append(strings.Fields(c.args), "-f", file, "-z", hosts, "-b", f.s3.Bucket, "-e", f.s3.Endpoint, "-a", filepath.Join(f.dir, "aws.keys"))
		cmd := exec.CommandContext(t.Context(), link, args...)
		cmd.Env = append(os.Environ(), "KINGPIN_CONFIG="+f.conf)
		o := result(t, cmd)
		if got := read(t, file); o.code != c.code || got != c.want {
			t.Errorf("zk_download_data.py %s: %v\nand the file holds %q", c.args, o, got)
		}
	}
}

// TestFleetWithPython: a Python publisher and ours add to one list at the same time, each with its own compare-and-set, while a
// Python daemon and a Python application follow it. Nobody's addition is lost, nobody is refused without a cause, and everybody
// has the same list in the end.
func TestFleetWithPython(t *testing.T) {
	t.Parallel() // it waits more than it works
	shareWithPython(t, 5*time.Second)
}

func shareWithPython(t *testing.T, long time.Duration) {
	const name, path = "config.manageddata.test.shared", "/config/manageddata/test/shared"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	kingpin(t, a, "create", name)
	eventually(t, "the name has come to the other machine", func() bool { return b.shows("config/"+name, "") })

	follower := startOld(t, f, "follow", path, a.Path("config", name))
	writer := startOld(t, f, "append", path, b.Path("config", name), "python")
	ours := appendWhile(t, a.Path("config", name), "kingpin", long, func() bool { return writer.items.Load() < enough })
	lines := writer.end(t)
	theirs, lockedOut := additions(t, lines)
	if len(ours) < enough || len(theirs) < enough {
		t.Errorf("ours added %d times and Python %d times (locked out %d times), which proves little", len(ours), len(theirs), lockedOut)
	}
	t.Logf("ours added %d times, Python %d times, and was locked out %d times", len(ours), len(theirs), lockedOut)

	all := slices.Sorted(slices.Values(append(ours, theirs...)))
	list := func(m *Monitor) []string { return parseList(t, read(t, m.Path("config", name))) }
	soon(t, "both machines have every addition", func() bool {
		return slices.Equal(slices.Sorted(slices.Values(list(a))), all) && slices.Equal(list(a), list(b))
	})
	var seen struct {
		Downloads   int      `json:"downloads"`
		Lost        []string `json:"lost"`
		Backwards   int      `json:"backwards"`
		Daemon      []string `json:"daemon"`
		Polls       int      `json:"polls"`
		SameMtime   []string `json:"same_mtime"`
		Application []string `json:"application"`
	}
	last := follower.end(t)
	if err := json.Unmarshal([]byte(last[len(last)-1]), &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen.Lost) > 0 || seen.Backwards > 0 || seen.Downloads < 5 || !slices.Equal(seen.Daemon, list(a)) {
		t.Errorf("the daemon downloaded %d versions, did not find %q, went back %d times, and has %d additions in the end, of %d",
			seen.Downloads, seen.Lost, seen.Backwards, len(seen.Daemon), len(all))
	}
	if len(seen.SameMtime) > 0 || seen.Polls < 5 || !slices.Equal(seen.Application, list(a)) {
		t.Errorf("the application saw %d versions, %d of them with a time that had not grown, and has %d additions in the end, of %d",
			seen.Polls, len(seen.SameMtime), len(seen.Application), len(all))
	}
	if dump := f.asOld(t, "dump"); strings.Count(dump, "b'"+version(dump, "znode "+path+" ")+"'") != 2 {
		t.Errorf("znode and index do not agree:\n%s", dump)
	}
}

// version is what a line of a dump that begins so holds.
func version(dump, beginning string) string {
	_, after, _ := strings.Cut(dump, beginning)
	_, after, _ = strings.Cut(after, "data=b'")
	data, _, _ := strings.Cut(after, "'")
	return data
}

// additions are what a Python publisher has added. What refused it has to be the lock, or a list that is really another one.
func additions(t *testing.T, lines []string) (added []string, lockedOut int) {
	t.Helper()
	for _, line := range lines {
		if !strings.HasPrefix(line, "{") {
			added = append(added, line)
			continue
		}
		var refusal struct {
			Locked  bool
			Old, S3 string
		}
		if err := json.Unmarshal([]byte(line), &refusal); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if refusal.Locked {
			lockedOut++
			continue
		}
		if slices.Equal(parseList(t, refusal.Old), parseList(t, refusal.S3)) {
			t.Errorf("refused without a cause: S3 has %q for what it thinks is %q", refusal.S3, refusal.Old)
		}
	}
	return added, lockedOut
}

func parseList(t *testing.T, text string) []string {
	t.Helper()
	list := []string{}
	if text == "" {
		return list
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return list
}

// enough additions of each prove that two writers work beside each other.
const enough = 5

// appendWhile adds to a list on a mount for some time, as any program would that does not want to lose anything: it opens the file for
// reading and writing, and begins anew if somebody else was faster. It goes on for longer if that was too short for enough additions, or
// for somebody else, but not for ever. It returns what was added.
func appendWhile(t *testing.T, path, who string, long time.Duration, longer func() bool) []string {
	t.Helper()
	var added []string
	pause := 40 * time.Millisecond
	end := time.Now().Add(long)
	last := end.Add(2 * patience)
	for now := time.Now(); now.Before(end) || now.Before(last) && (len(added) < enough || longer()); now = time.Now() {
		<-time.After(pause) // half of the time is for others, who do not wait for a lock
		item, began := fmt.Sprintf("%s-%d", who, len(added)+1), time.Now()
		switch err := appendTo(path, item); {
		case err == nil:
			added = append(added, item)
		case !errors.Is(err, syscall.ESTALE):
			t.Errorf("%s: %v", item, err)
			return added
		}
		pause = max(40*time.Millisecond, time.Since(began))
	}
	return added
}

// appendTo adds one item in the bytes that Python would write.
func appendTo(path, item string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	next := `["` + item + `"]`
	if rest, ok := strings.CutSuffix(string(content), "]"); ok {
		next = rest + `, "` + item + `"]`
	}
	if _, err := file.WriteAt([]byte(next), 0); err != nil {
		return err
	}
	return file.Sync()
}

// oldProcess is a stand-in that runs until it is told to end.
type oldProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
	items atomic.Int64 // lines that are not JSON, after the first one, which says that it is ready
	ended bool
}

func startOld(t *testing.T, f *fleet, args ...string) *oldProcess {
	t.Helper()
	cmd := f.old(t.Context(), t, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &oldProcess{cmd: cmd, stdin: stdin, lines: make(chan string, 1<<16)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			if line := s.Text(); line != "ready" && !strings.HasPrefix(line, "{") {
				p.items.Add(1)
			}
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { p.finish() })
	select {
	case line := <-p.lines:
		if line != "ready" {
			t.Fatalf("old_kingpin.py %s says %q", strings.Join(args, " "), line)
		}
	case <-time.After(2 * patience): // it reads half of Python
		t.Fatalf("old_kingpin.py %s does not start", strings.Join(args, " "))
	}
	return p
}

// end tells it to end, and returns what it has printed.
func (p *oldProcess) end(t *testing.T) []string {
	t.Helper()
	lines, err := p.finish()
	if err != nil {
		t.Fatalf("%v: %v", p.cmd.Args, err)
	}
	return lines
}

func (p *oldProcess) finish() (lines []string, err error) {
	if p.ended {
		return nil, nil
	}
	p.ended = true
	p.stdin.Close()
	for line := range p.lines {
		lines = append(lines, line)
	}
	return lines, p.cmd.Wait()
}
