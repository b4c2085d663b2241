package fs

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
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
	// One server has the patience that it has in life, the other one never gives up before it knows.
	hasty, patient := withDeciders(t), withDeciders(t, "OUTCOME=1h")
	const (
		never = iota // the publication is given up
		soon         // the writer is told what came of it
		late         // the writer is told that it will be said in .error
	)
	const config, decider, deciders = "config/" + aConfig, "decider/gate", "config.manageddata.admin.decider"
	for _, tt := range []struct {
		gesture, file, held string
		published           int
		prints, reason      string
	}{
		{"close", config, aConfig, never, "write done, close Interrupted system call", "interrupted, and not published"},
		{"fsync", config, aConfig, never, "write done, fsync Interrupted system call, fsync Connection timed out, close done", "interrupted, and not published"},
		{"rename", config, aConfig, never, "rename Interrupted system call", "interrupted, and not published"},
		{"write", decider, deciders, never, "write Interrupted system call, close done", "interrupted, and not published"},
		{"unlink", decider, deciders, never, "unlink Interrupted system call", "interrupted, and not published"},
		{"rename", decider, deciders, never, "rename Interrupted system call", "interrupted, and not published"},
		{"close", config, aConfig, soon, "write done, close done", ""},
		{"rename", config, aConfig, soon, "rename done", ""},
		{"write", decider, deciders, soon, "write done, close done", ""},
		{"write", decider, deciders, late, "write Interrupted system call, close done", "interrupted, and published all the same"},
		{"close", config, aConfig, late, "write done, close Interrupted system call", "interrupted, and published all the same"},
		{"rename", config, aConfig, late, "rename Interrupted system call", "interrupted, and published all the same"},
	} {
		t.Run(fmt.Sprint(tt.gesture, " ", tt.file, " ", tt.published), func(t *testing.T) {
			of := hasty
			if tt.published == soon {
				of = patient
			}
			m := &machine{t: t, mount: of.mount, state: of.state, log: of.log}
			before := map[string]string{config: "first\n", decider: "17\n"}[tt.file]
			m.becomes(strings.Split(tt.file, "/")[0], strings.Split(tt.file, "/")[1], before)
			release := func() { m.order("/hold?name="+tt.held, "0s") }
			if tt.published == never {
				m.order("/hold?name="+tt.held, "1h")
			} else {
				release = m.hold(tt.held)
			}
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
			m.held(1)
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if tt.published == soon {
				<-time.After(5 * cancelPoll) // by then the server has heard of it
				release()
			}
			var prints []string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				prints = append(prints, lines.Text())
				if tt.published == late && strings.HasSuffix(lines.Text(), "Interrupted system call") {
					release()
				}
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
			if tt.published == never {
				release()
			}
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
	m.held(1)
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
