package examples

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/registry/decider"
)

// languages are how each page is run.
var languages = []struct {
	name    string
	needs   []string
	command []string
	asks    bool // each look is asked for by a line of input
}{
	{"python", []string{"python3"}, []string{"python3", "python/kingpin.py"}, false},
	{"node", []string{"node"}, []string{"node", "node/kingpin.js"}, false},
	{"java", []string{"java", "javac"}, []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "java/KingPin.java"}, false},
	{"php", []string{"php"}, []string{"php", "-d", "apc.enable_cli=1", "php/kingpin.php"}, true},
	{"ruby", []string{"ruby"}, []string{"ruby", "ruby/kingpin.rb"}, false},
	{"shell", []string{"bash", "inotifywait"}, []string{"bash", "shell/kingpin.sh"}, false},
}

// need skips a test that the machine cannot run, aloud; where everything is required that is a failure.
func need(t *testing.T, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("KINGPIN_REQUIRE") == "all":
		t.Fatalf("this needs %s, and KINGPIN_REQUIRE=all", what)
	default:
		t.Skipf("this needs %s", what)
	}
}

// each runs a test for every language.
func each(t *testing.T, test func(t *testing.T, command []string, asks bool)) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			for _, program := range l.needs {
				_, err := exec.LookPath(program)
				need(t, "the program "+program, err == nil)
			}
			test(t, l.command, l.asks)
		})
	}
}

// TestBucketsAreTheSameInAllLanguages: who is in an experiment is in it whichever service asks.
func TestBucketsAreTheSameInAllLanguages(t *testing.T) {
	each(t, func(t *testing.T, command []string, _ bool) {
		answer := func(args ...string) int {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), command[0], append(command[1:len(command):len(command)], args...)...)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // by which Java reads its arguments
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v %v: %v", command, args, err)
			}
			bucket, err := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil {
				t.Fatal(err)
			}
			return bucket
		}
		for _, v := range []struct{ name, key string }{{"a", "1000"}, {"some_exp", "12345"}, {"exp", "user:1"}, {"new_ranker", "café ☃"}} {
			want := decider.Fixed(nil).Gate(v.name, 0).Explain(v.key).Bucket
			if got := answer("bucket", v.name, v.key); got != want {
				t.Errorf("%s of %s is in %d and not in %d", v.key, v.name, got, want)
			}
		}
		for id, want := range map[string]int{"12345": 45, "-1": 99, "-100": 0, "7": 7, "9007199254740993": 93} {
			if got := answer("id", id); got != want {
				t.Errorf("id %s is in %d and not in %d", id, got, want)
			}
		}
	})
}

// program is a page that watches.
type program struct {
	lines chan string
	input io.Writer
	asks  bool
}

func watch(t *testing.T, mount string, command []string, asks bool) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], "watch", "new_ranker", "demo", "fruits")...)
	cmd.Env = append(os.Environ(), "KINGPIN_MOUNT="+mount, "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what the shell has started
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{lines: make(chan string, 1000), input: input, asks: asks}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = cmd.Wait() // killed
	})
	return p
}

// says waits until the program says a line.
func (p *program) says(t *testing.T, want string) {
	t.Helper()
	var heard []string
	ask := time.NewTicker(20 * time.Millisecond)
	defer ask.Stop()
	for deadline := time.After(time.Minute); ; {
		select {
		case line := <-p.lines:
			if line == want {
				return
			}
			heard = append(heard, line)
		case <-ask.C:
			if p.asks {
				fmt.Fprintln(p.input)
			}
		case <-deadline:
			t.Fatalf("%q was not said within a minute, but %.500q", want, heard)
		}
	}
}

// silent wants the program to keep what it has.
func (p *program) silent(t *testing.T) {
	t.Helper()
	if p.asks {
		fmt.Fprintln(p.input)
		p.says(t, "43 apple")
		return
	}
	select {
	case line := <-p.lines:
		t.Errorf("it said %q", line)
	case <-time.After(200 * time.Millisecond):
	}
}

// TestPagesFollowPlainFiles: the files come late, change, break, and are good again.
func TestPagesFollowPlainFiles(t *testing.T) {
	each(t, func(t *testing.T, command []string, asks bool) {
		mount := t.TempDir()
		for _, dir := range []string{"config", "decider"} {
			if err := os.Mkdir(filepath.Join(mount, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		replace := func(name, content string) {
			t.Helper()
			path := filepath.Join(mount, name)
			if err := os.WriteFile(filepath.Join(mount, ".new"), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(mount, ".new"), path); err != nil {
				t.Fatal(err)
			}
		}
		decide := func(percent int) {
			t.Helper()
			replace("config/config.manageddata.admin.decider", fmt.Sprintf(`{"new_ranker": %d, "other": 1}`, percent))
			replace("decider/new_ranker", fmt.Sprintln(percent))
		}
		p := watch(t, mount, command, asks)
		p.says(t, "0 ")
		decide(42)
		p.says(t, "42 ")
		replace("config/config.manageddata.demo.fruits", `["apple", "pear"]`)
		p.says(t, "42 apple,pear")
		replace("config/config.manageddata.demo.fruits", `["apple"]`)
		p.says(t, "42 apple")
		decide(43)
		p.says(t, "43 apple")
		if filepath.Base(command[0]) == "bash" {
			replace("config/config.manageddata.demo.fruits", `[1, 22]`)
			p.says(t, "43 1,22")
			replace("config/config.manageddata.demo.fruits", `[]`)
			p.says(t, "43 ")
			return // it shows what is in the file, and the mount sees that this is no broken JSON
		}
		for _, broken := range []string{`["apple", `, `null`, strings.Repeat("[", 1e5), "[\"\xff"} {
			replace("config/config.manageddata.demo.fruits", broken)
			replace("config/config.manageddata.admin.decider", broken)
			p.silent(t)
		}
		replace("config/config.manageddata.demo.fruits", `["apple", "plum"]`)
		p.says(t, "43 apple,plum")
		replace("config/config.manageddata.admin.decider", `{"new_ranker": 12.5, "other": 1}`)
		p.says(t, "13 apple,plum") // the buckets below 12.5
		replace("config/config.manageddata.demo.fruits", `[1, 22]`)
		p.says(t, "13 1,22")
		replace("config/config.manageddata.demo.fruits", ``) // as a config is before it is first written
		p.says(t, "13 ")
	})
}

// TestPythonGoesOn: where a callback fails, and in the children of a server that forks.
func TestPythonGoesOn(t *testing.T) {
	_, err := exec.LookPath("python3")
	need(t, "the program python3", err == nil)
	mount := t.TempDir()
	if err := os.Mkdir(filepath.Join(mount, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-c", `
import os, sys, time, kingpin
path = os.path.join(kingpin.MOUNT, "config", "config.manageddata.demo.fruits")
def write(content):
    with open(path + ".new", "w") as file: file.write(content)
    os.rename(path + ".new", path)
def until(*want):
    while fruits.get_list() != list(want): time.sleep(0.01)
def fails(value): raise OSError("on purpose")
write('["apple"]')
fruits = kingpin.ManagedList("demo", "fruits", update_callback=fails)
write('["pear"]'); until("pear")
write('["plum"]'); until("plum")
kingpin.POLL = 1000.0 # from now on by events alone
child = os.fork()
if child == 0:
    write('["cherry"]'); until("cherry")
    write('["fig"]'); until("fig")
    os._exit(0)
until("fig")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
`)
	cmd.Env = append(os.Environ(), "KINGPIN_MOUNT="+mount, "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=python")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "on purpose") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestShellExecutesNoIds: bash's arithmetic takes x[$(command)] for a number.
func TestShellExecutesNoIds(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"x[$(touch " + dir + "/executed)]", "1; touch " + dir + "/executed", "", "08x"} {
		out, err := exec.CommandContext(t.Context(), "bash", "-c", `. shell/kingpin.sh; kingpin_active_for new_ranker "$1"`, "bash", id).CombinedOutput()
		if err == nil {
			t.Errorf("%q is in: %s", id, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v: an id was executed", left, err)
	}
}

// TestPagesFollowAMount: the writer is on the same machine, which is the harder case.
func TestPagesFollowAMount(t *testing.T) {
	_, err := os.Stat("/dev/fuse")
	need(t, "root and /dev/fuse", err == nil && os.Geteuid() == 0)
	scratch, err := os.MkdirTemp("", "k") // short: the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(scratch); err != nil {
			t.Error(err)
		}
	})
	o := integration.Options{Mount: filepath.Join(scratch, "m"), State: filepath.Join(scratch, "s")}
	if o.Binary, err = integration.Build(t.Context(), scratch, false); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(o.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	m, err := integration.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	const list = "config.manageddata.demo.fruits"
	if out, err := m.Command(t.Context(), "create", list).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write := func(content string, elem ...string) {
		t.Helper()
		if err := os.WriteFile(m.Path(elem...), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := 10
	each(t, func(t *testing.T, command []string, asks bool) {
		at++
		write(fmt.Sprintln(at), "decider", "new_ranker")
		write(`["apple"]`, "config", list)
		p := watch(t, m.Mount, command, asks)
		p.says(t, fmt.Sprintf("%d apple", at))
		for _, fruits := range []string{"apple,pear", "plum", "cherry"} {
			write(`["`+strings.ReplaceAll(fruits, ",", `", "`)+`"]`, "config", list)
			p.says(t, fmt.Sprintf("%d %s", at, fruits))
		}
		at++
		write(fmt.Sprintln(at), "decider", "new_ranker")
		p.says(t, fmt.Sprintf("%d cherry", at))
	})
}
