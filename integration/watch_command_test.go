package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// kingpinWatch starts kingpin watch and returns when it is inside its loop.
func kingpinWatch(t *testing.T, m *Monitor, args ...string) *watch {
	t.Helper()
	// It is heard to wait for a name that never comes, the last one, so it has looked at the others.
	words, hook := args, []string(nil)
	if dash := slices.Index(args, "--"); dash >= 0 {
		words, hook = args[:dash], args[dash:]
	}
	cmd := m.Command(t.Context(), slices.Concat([]string{"watch", "--debounce", "0s"}, words, []string{"config.manageddata.watch.never"}, hook)...)
	cmd.Cancel, cmd.Dir = nil, t.TempDir()
	return startWatch(t, cmd, "waiting for config.manageddata.watch.never")
}

// TestWatchCommandPrints: a line for each change of configs and deciders, and for names that did not exist when it was started.
func TestWatchCommandPrints(t *testing.T) {
	const one, later = "config.manageddata.watch.one", "config.manageddata.watch.later"
	m := monitor(t)
	kingpin(t, m, "create", one)
	succeed(t, m, "echo one > config/"+one)
	w := kingpinWatch(t, m, later, one)
	now := kingpinWatch(t, m, "--now", "-o", "json", one)
	if line := now.next(t); !strings.Contains(line, `"name":"`+one+`"`) || !strings.Contains(line, `"version":"`+xattr(t, m.Path("config", one), "user.kingpin.version")) {
		t.Errorf("--now prints %s", line)
	}
	says := func(name, message string) {
		t.Helper()
		v := xattr(t, m.Path("config", name), "user.kingpin.version")
		if line := w.next(t); !strings.HasPrefix(line, name+"  "+v+"  ") || !strings.HasSuffix(line, message) {
			t.Errorf("printed %q, want %s %s ... %s", line, name, v, message)
		}
	}
	succeed(t, m, "kingpin put -q "+one+" -m 'too loud' <<< two")
	says(one, "too loud")
	succeed(t, m, "echo two > config/"+one) // the same bytes
	kingpin(t, m, "create", later)
	succeed(t, m, "echo later > config/"+later)
	says(later, "")
	if code := w.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: it ended with %d", code)
	}
	if len(w.lines) > 0 {
		t.Errorf("it printed more: %s", <-w.lines)
	}
}

// TestWatchCommandRuns: the command runs for each change, never twice at once, and the last version is never missed, whatever comes
// in between: a burst, a death of the server, a restart of the whole monitor.
func TestWatchCommandRuns(t *testing.T) {
	const name = "config.manageddata.watch.run"
	o := site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo start > config/"+name)
	w := kingpinWatch(t, m, name, "--", "sh", "-c",
		`mkdir lock || echo two at once; echo "$KINGPIN_NAME $KINGPIN_VERSION $(cat $KINGPIN_PATH)"; rmdir lock`)
	ran := func(content string) {
		t.Helper()
		want := name + " " + xattr(t, m.Path("config", name), "user.kingpin.version") + " " + content
		for _, line := range w.until(t, want) {
			if !strings.HasPrefix(line, name+" ") {
				t.Errorf("it printed %q", line)
			}
		}
		if len(w.lines) > 0 {
			t.Errorf("after the last version it ran for %q", <-w.lines)
		}
	}
	succeed(t, m, "echo quiet > config/"+name)
	ran("quiet")
	path := m.Path("config", name)
	for n := range 100 {
		if err := os.WriteFile(path, fmt.Appendln(nil, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ran("99")
	server, err := m.Server()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	succeed(t, m, "echo after a death > config/"+name)
	ran("after a death")
	stop(t, m)
	m = startMonitor(t, o)
	succeed(t, m, "echo after a restart > config/"+name)
	ran("after a restart")
}

// TestWatchCommandEnds: the watch ends with the status of its command, and takes it along.
func TestWatchCommandEnds(t *testing.T) {
	const name = "config.manageddata.watch.end"
	m := monitor(t)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo start > config/"+name)

	fails := kingpinWatch(t, m, "--now", name, "--", "sh", "-c", "echo $$; exit 3")
	fails.next(t)
	succeed(t, m, "echo more > config/"+name)
	second := fails.next(t) // a command that fails does not end it
	eventually(t, "the command has ended by itself", func() bool {
		_, err := os.Stat(filepath.Join("/proc", second))
		return err != nil
	})
	if code := fails.stop(t, syscall.SIGTERM); code != 3 {
		t.Errorf("it ended with %d, its command with 3", code)
	}

	hangs := kingpinWatch(t, m, "--now", name, "--", "sh", "-c", "sleep 1000 & echo $!; wait")
	sleeper := hangs.next(t)
	if code := hangs.stop(t, syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("it ended with %d, its command by SIGTERM", code)
	}
	eventually(t, "what the command had started has ended", func() bool {
		state, err := os.ReadFile(filepath.Join("/proc", sleeper, "stat"))
		return err != nil || strings.Contains(string(state), ") Z ")
	})

	for words, want := range map[string]int{"config.a.b.c -- no-such-command": 127, "config.a.b.c -- /etc/passwd": 126, "-- true": 2, "config.a.b.c --": 2, "no/name": 2} {
		if o := result(t, m.Command(t.Context(), append([]string{"watch"}, strings.Fields(words)...)...)); o.code != want {
			t.Errorf("kingpin watch %s: %v, want exit %d", words, o, want)
		}
	}
}
