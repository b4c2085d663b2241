package fs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watch runs inotifywait on a path and returns its lines.
func (m *machine) watch(path string) *watcher {
	m.t.Helper()
	return m.watchFor(path, "close_write", "%f")
}

func (m *machine) watchFor(path, events, format string) *watcher {
	m.t.Helper()
	if _, err := exec.LookPath("inotifywait"); err != nil {
		skip(m.t, "inotifywait is not installed")
	}
	cmd := exec.Command("inotifywait", "-m", "-e", events, "--format", format, path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	w := &watcher{t: m.t, lines: make(chan string, 10000)}
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	for s := bufio.NewScanner(stderr); s.Scan(); {
		if strings.Contains(s.Text(), "established") {
			return w
		}
	}
	m.t.Fatal("inotifywait ended")
	return nil
}

type watcher struct {
	t     *testing.T
	lines chan string
}

// next waits for an event and returns the name in it.
func (w *watcher) next() string {
	w.t.Helper()
	select {
	case line := <-w.lines:
		return line
	case <-time.After(patience):
		w.t.Fatal("no event")
	}
	return ""
}

// expect waits for an event and checks its line.
func (w *watcher) expect(line string) {
	w.t.Helper()
	if got := w.next(); got != line {
		w.t.Fatalf("event %q, want %q", got, line)
	}
}

// quiet makes sure that no event is left over.
func (w *watcher) quiet(what string) {
	w.t.Helper()
	select {
	case <-w.lines:
		w.t.Fatalf("one event too many after %s", what)
	case <-time.After(20 * time.Millisecond):
	}
}

// TestEveryVersionIsHeardOnce: 60 quiet updates, by turns from elsewhere, by a redirection here and by a rename here, on a watch of
// the file and one of its directory, both set once and for all.
func TestEveryVersionIsHeardOnce(t *testing.T) {
	m := start(t)
	file, dir := m.watch(m.config()), m.watch(filepath.Dir(m.config()))
	for i := range 60 {
		body := fmt.Sprintf("version %d\n", i)
		var how string
		switch i % 2 {
		case 0:
			how = "a publication from elsewhere"
			m.remote("config", aConfig, body)
		case 1:
			how = "echo > file"
			if err := os.WriteFile(m.config(), []byte(body), 0); err != nil {
				t.Fatal(err)
			}
		}
		file.next()
		dir.next()
		m.want("config/"+aConfig, body)
		file.quiet(how + " on the file")
		dir.quiet(how + " on the directory")
	}
}

// TestSyncIsOneEvent: a writer that calls fsync and closes makes one event on the directory; one that keeps the file open makes one
// soon after the fsync.
func TestSyncIsOneEvent(t *testing.T) {
	syncs(t, true, "CLOSE_AFTER_SYNC=1h") // a writer that closes at once may take its time
	syncs(t, false)
}

func syncs(t *testing.T, closes bool, env ...string) {
	t.Helper()
	m := start(t, env...)
	dir := m.watch(filepath.Dir(m.config()))
	for i := range 3 {
		file, err := os.OpenFile(m.config(), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(file, "synced %d\n", i)
		if err := file.Sync(); err != nil {
			t.Fatal(err)
		}
		if closes {
			file.Close()
		}
		dir.next()
		m.want("config/"+aConfig, fmt.Sprintf("synced %d\n", i))
		m.announced() // a second event would come before that
		dir.quiet("fsync")
		if !closes {
			file.Close()
			dir.next()
		}
	}
}

// TestNamesComeAndGo: what is created and removed elsewhere makes the events of a creation and a removal here.
func TestNamesComeAndGo(t *testing.T) {
	m := start(t)
	const other = "config.manageddata.test.other"
	dir := m.watchFor(filepath.Dir(m.config()), "create,delete,close_write", "%e %f")
	m.remote("config", other, "new\n")
	dir.expect("CREATE " + other)
	dir.expect("CLOSE_WRITE,CLOSE " + other)
	dir.quiet("a creation")
	file := m.watchFor(m.path("config/"+other), "delete_self", "%e")
	m.remote("config", other, "newer\n")
	dir.expect("CLOSE_WRITE,CLOSE " + other)
	dir.quiet("an update")
	m.order("/remove?name="+other, "")
	dir.expect("DELETE " + other)
	dir.quiet("a removal")
	file.expect("DELETE_SELF")
	if _, err := os.Stat(m.path("config/" + other)); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}

	root := m.watchFor(m.mount, "create,delete", "%e %f")
	m.order("/graph?dep=web.dep", "")
	root.expect("CREATE,ISDIR web.dep")
	members := m.watchFor(m.path("web.dep"), "create,delete", "%e %f")
	m.order("/graph?dep=web.dep", aConfig)
	members.expect("CREATE " + aConfig)
	m.order("/graph?dep=web.dep", "")
	members.expect("DELETE " + aConfig)
	if out, err := m.shell("ln -s ../config/" + aConfig + " $m/web.dep/ && rm $m/web.dep/" + aConfig); err != nil {
		t.Fatal(err, out)
	}
	members.expect("CREATE " + aConfig)
	members.expect("DELETE " + aConfig)
	members.quiet("a gesture here")
	m.order("/ungraph?dep=web.dep", "")
	root.expect("DELETE,ISDIR web.dep")
	root.quiet("everything")
}

// looks asks for configs all the time, until it is stopped.
func (m *machine) looks(name func() string) (stop func()) {
	ctx, cancel := context.WithCancel(m.t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			_, _ = os.Stat(m.path("config/" + name()))
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

// TestNamesThatAreLookedForGoOnce: somebody asks all the time whether a name is still there. Its going is one event all the same.
func TestNamesThatAreLookedForGoOnce(t *testing.T) {
	m := start(t)
	dir := m.watchFor(filepath.Dir(m.config()), "delete", "%e %f")
	for i := range 50 {
		name := fmt.Sprintf("config.manageddata.test.leaving%d", i)
		m.becomes("config", name, "there\n")
		m.announced()
		stop := m.looks(func() string { return name })
		m.order("/remove?name="+name, "")
		dir.expect("DELETE " + name)
		stop()
	}
	m.announced()
	dir.quiet("all of them")
}

// TestNamesThatAreLookedForComeOnce: somebody waits for a name by asking for it all the time. Its coming is one event all the same.
func TestNamesThatAreLookedForComeOnce(t *testing.T) {
	m := start(t)
	dir := m.watchFor(filepath.Dir(m.config()), "create,close_write", "%e %f")
	for i := range 50 {
		name := fmt.Sprintf("config.manageddata.test.awaited%d", i)
		stop := m.looks(func() string { return name })
		m.remote("config", name, "new\n")
		dir.expect("CREATE " + name)
		dir.expect("CLOSE_WRITE,CLOSE " + name)
		stop()
	}
	dir.quiet("all of them")
}

// TestWatchOutlivesTheServer: a watch set before the server died hears of what comes after.
func TestWatchOutlivesTheServer(t *testing.T) {
	m := start(t)
	file := m.watch(m.config())
	for i := range 5 {
		m.killServer()
		m.remoteSoon("config", aConfig, fmt.Sprintf("version %d\n", i))
		file.next()
	}
}
