package integration

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// holder takes the lock of an old publisher and keeps it until its stdin ends. For each line it prints how many stand in the queue.
const holder = `
import sys
from kazoo.client import KazooClient
zk = KazooClient(hosts=sys.argv[1])
zk.start(timeout=60)
with zk.Lock(sys.argv[2]):
    print('held', flush=True)
    for _ in sys.stdin:
        print(len(zk.get_children(sys.argv[2])), flush=True)
zk.stop()
`

// TestFleetCtrlCSaysWhatBecameOfIt: while an old publisher keeps the lock of a config no publication comes to its end. Ctrl-C ends
// kingpin put, echo and kingpin decider set, which say that nothing was published, and nothing was.
func TestFleetCtrlCSaysWhatBecameOfIt(t *testing.T) {
	const name = "config.manageddata.demo.greeting"
	f := startFleet(t)
	m := f.machine(t)
	for _, name := range []string{name, deciders} {
		kingpin(t, m, "create", name)
	}
	eventually(t, "both are here", func() bool { return m.shows("config/"+name, "") && m.shows("config/"+deciders, "") })
	succeed(t, m, `echo '{"hello": "before"}' > config/`+name+` && echo 5 > decider/gate`)
	queued := map[string]func() string{}
	for file, pointer := range map[string]string{
		"config/" + name: "/config/manageddata/demo/greeting", "decider/gate": "/config/manageddata/admin/decider",
	} {
		cmd := exec.CommandContext(t.Context(), python(t), "-c", holder, f.zk.Addr, pointer+".lock")
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
		defer cmd.Wait()
		defer stdin.Close()
		lines := bufio.NewReader(stdout)
		if line, err := lines.ReadString('\n'); err != nil || line != "held\n" {
			t.Fatalf("the lock: %q, %v", line, err)
		}
		queued[file] = func() string {
			if _, err := io.WriteString(stdin, "\n"); err != nil {
				t.Fatal(err)
			}
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return line
		}
	}
	for _, tt := range []struct {
		line, file, says string
		code             int
	}{
		{`exec kingpin put ` + name + ` <<< '{"hello": "after"}'`, "config/" + name, "interrupted, and not published", 1},
		{`exec kingpin decider set gate 50`, "decider/gate", "interrupted, and not published", 1},
		{`trap : INT; echo 50 > decider/gate`, "decider/gate", "echo: write error: Interrupted system call", 1},
	} {
		before := read(t, m.Path(tt.file))
		cmd := exec.CommandContext(t.Context(), "bash", "-c", tt.line)
		var stderr bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stderr = m.Mount, append(m.Env(), "LC_ALL=C"), &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it waits for the lock", func() bool { return queued[tt.file]() == "2\n" })
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(stderr.String(), tt.says) {
			t.Errorf("%s: %v\n%s", tt.line, err, &stderr)
		}
		if reason := read(t, m.Path(".error", tt.file)); !strings.Contains(reason, "refused: interrupted, and not published") {
			t.Errorf("%s: the reason is %q", tt.line, reason)
		}
		if after := read(t, m.Path(tt.file)); after != before {
			t.Errorf("%s: it holds %q", tt.line, after)
		}
	}
}
