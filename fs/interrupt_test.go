package fs

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// interruptible makes a gesture by system calls that nobody repeats, and prints what each came to; SIGINT does nothing to it but
// interrupt the one that is under way.
const interruptible = `
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGINT, lambda *_: None)
def call(name, *args):
    done = getattr(libc, name)(*args)
    print(name, 'done' if done >= 0 else os.strerror(ctypes.get_errno()), flush=True)
gesture, path = sys.argv[1], sys.argv[2].encode()
if gesture in ('write', 'close', 'fsync'):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    call('write', fd, b'42\n', 3)
    if gesture == 'fsync':
        call('fsync', fd)
        call('fsync', fd)
    call('close', fd)
elif gesture == 'rename':
    other = os.path.dirname(path) + b'/.other'
    open(other, 'w').write('42\n')
    call('rename', other, path)
    os.unlink(other)
elif gesture == 'unlink':
    call('unlink', path)
`

// TestInterruptedWriterIsTold: Ctrl-C while a publication does not come to its end ends the system call, and .error says what came of it:
// it was given up, or it was past the point where it could be.
func TestInterruptedWriterIsTold(t *testing.T) {
	m := withDeciders(t)
	m.remote("config", aConfig, "first\n")
	const config, decider, deciders = "config/" + aConfig, "decider/gate", "config.manageddata.admin.decider"
	for _, tt := range []struct {
		gesture, file, held, hold string
		prints, reason            string
	}{
		{"close", config, aConfig, "1h", "write done, close Interrupted system call", "interrupted, and not published"},
		{"fsync", config, aConfig, "1h", "write done, fsync Interrupted system call, fsync Connection timed out, close done", "interrupted, and not published"},
		{"rename", config, aConfig, "1h", "rename Interrupted system call", "interrupted, and not published"},
		{"write", decider, deciders, "1h", "write Interrupted system call, close done", "interrupted, and not published"},
		{"unlink", decider, deciders, "1h", "unlink Interrupted system call", "interrupted, and not published"},
		{"rename", decider, deciders, "1h", "rename Interrupted system call", "interrupted, and not published"},
		{"close", config, aConfig, "300ms", "write done, close done", ""},
		{"rename", config, aConfig, "300ms", "rename done", ""},
		{"write", decider, deciders, "300ms", "write done, close done", ""},
		{"write", decider, deciders, "3s", "write Interrupted system call, close done", "interrupted, and published all the same"},
		{"close", config, aConfig, "3s", "write done, close Interrupted system call", "interrupted, and published all the same"},
		{"rename", config, aConfig, "3s", "rename Interrupted system call", "interrupted, and published all the same"},
	} {
		t.Run(tt.gesture+" "+tt.file+" "+tt.hold, func(t *testing.T) {
			m := &machine{t: t, mount: m.mount, state: m.state, log: m.log}
			before := map[string]string{config: "first\n", decider: "17\n"}[tt.file]
			m.remote(strings.Split(tt.file, "/")[0], strings.Split(tt.file, "/")[1], before)
			m.wantSoon(tt.file, before)
			m.order("/hold?name="+tt.held, tt.hold)
			cmd := exec.Command("python3", "-c", interruptible, tt.gesture, m.path(tt.file))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			eventually(t, "it is under way", func() bool { return m.read(".status/held") == "1" })
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			var prints []string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				prints = append(prints, lines.Text())
			}
			if got := strings.Join(prints, ", "); got != tt.prints {
				t.Errorf("it printed %q, want %q", got, tt.prints)
			}
			after := before
			if !strings.Contains(tt.reason, "not published") {
				after = "42\n"
			}
			m.wantSoon(tt.file, after)
			if tt.reason != "" {
				eventually(t, "the outcome is told", func() bool { return strings.Contains(m.read(".error/"+tt.file), "refused: "+tt.reason) })
			}
			m.order("/hold?name="+tt.held, "0s")
		})
	}
}

// TestDeciderWriteOutlivesNoServer: a server that dies while a decider is published leaves the write with an error, never with success,
// and the next server takes the next write.
func TestDeciderWriteOutlivesNoServer(t *testing.T) {
	m := withDeciders(t)
	m.order("/hold?name=config.manageddata.admin.decider", "1h")
	cmd := exec.Command("python3", "-c", interruptible, "write", m.path("decider/gate"))
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is under way", func() bool { return m.read(".status/held") == "1" })
	m.killServer()
	cmd.Wait()
	if got := out.String(); !strings.HasPrefix(got, "write Input/output error\n") {
		t.Errorf("it printed %q", got)
	}
	m.wantSoon("decider/gate", "17\n")
	eventually(t, "the next server publishes", func() bool {
		_, err := m.shell(`echo 43 > $m/decider/gate`)
		return err == nil
	})
	m.want("decider/gate", "43\n")
}
