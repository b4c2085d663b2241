package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	notify "github.com/fsnotify/fsnotify" // its own name is a constant of the table of imports
)

// watcher is a program that reads the file again when it hears of a change, and prints what it read.
type watcher struct {
	who      string
	argv     []string // FILE and DIR stand for the file and its directory, NAME for what it is called there
	reload   string   // what the author of a program takes for a change
	ready    string   // what it says on stderr when it watches: "ready" unless given
	gaps     string   // why it may miss the last of a burst, on any file system
	anew     bool     // it begins to watch anew after each event
	modules  string   // of Python
	programs []string
}

func loop(script string) []string { return []string{"sh", "-c", script} }

// watchers are all on one file, at the same time.
var watchers = []watcher{
	{who: "inotifywait, on the directory", argv: loop(`inotifywait -m -e close_write --format %f DIR | while read -r name; do [ "$name" != NAME ] || cat FILE; done`),
		reload: "CLOSE_WRITE with its name", ready: "established"},
	{who: "inotifywait, on the file", argv: loop(`inotifywait -m -e close_write FILE | while read -r _; do cat FILE; done`),
		reload: "CLOSE_WRITE", ready: "established"},
	{who: "inotifywait -e modify, on the directory", argv: loop(`inotifywait -m -e modify --format %f DIR | while read -r name; do [ "$name" != NAME ] || cat FILE; done`),
		reload: "MODIFY with its name", ready: "established"},
	{who: "inotifywait -e modify, on the file", argv: loop(`inotifywait -m -e modify FILE | while read -r _; do cat FILE; done`),
		reload: "MODIFY", ready: "established"},
	{who: "inotifywait -m, all events of the file", argv: loop(`inotifywait -m --format %e FILE | while read -r event; do case $event in *CLOSE_WRITE*) cat FILE; esac; done`),
		reload: "CLOSE_WRITE, of OPEN, MODIFY and CLOSE_WRITE", ready: "established"},
	{who: "shell loop", argv: loop(`while inotifywait -e close_write FILE >&2; do cat FILE; done`),
		reload: "inotifywait has ended", ready: "established", anew: true, gaps: "it does not watch while it reads"},
	{who: "shell loop that compares", argv: loop(`old=$(cat FILE); while :; do inotifywait -t 1 -e close_write FILE >&2; new=$(cat FILE); [ "$new" = "$old" ] || { echo "$new"; old=$new; }; done`),
		reload: "inotifywait has ended, or a second is over, and the content is another", ready: "established"},
	{who: "kingpin watch", argv: []string{"kingpin", "watch", "--debounce", "0s", "FILE", "config.manageddata.watchers.never", "--", "sh", "-c", "cat $KINGPIN_PATH"},
		reload: "the command", ready: "waiting for"},
	{who: "Python watchdog, on_modified", argv: []string{"PYTHON", "TESTDATA/watchdog_file.py", "modified", "FILE"}, reload: "on_modified of the file", modules: "watchdog"},
	{who: "Python watchdog, on_closed", argv: []string{"PYTHON", "TESTDATA/watchdog_file.py", "closed", "FILE"}, reload: "on_closed of the file", modules: "watchdog"},
	{who: "Python pyinotify, on the file", argv: []string{"PYTHON", "TESTDATA/pyinotify_file.py", "FILE"}, reload: "IN_CLOSE_WRITE", modules: "pyinotify"},
	{who: "inotify by ctypes, on the directory", argv: []string{"PYTHON", "TESTDATA/raw_inotify.py", "FILE"}, reload: "IN_CLOSE_WRITE with its name", modules: "ctypes"},
	{who: "Node chokidar", argv: []string{"node", "TESTDATA/watch.js", "chokidar", "FILE"}, reload: "'change'",
		gaps: "it passes over what comes within 50 ms", programs: []string{"node"}},
	{who: "Node chokidar, awaitWriteFinish", argv: []string{"node", "TESTDATA/watch.js", "awaitWriteFinish", "FILE"}, reload: "'change'", programs: []string{"node"}},
	{who: "Node fs.watch, on the file", argv: []string{"node", "TESTDATA/watch.js", "watch-file", "FILE"}, reload: "'change'", programs: []string{"node"}},
	{who: "Node fs.watch, on the directory", argv: []string{"node", "TESTDATA/watch.js", "watch-directory", "FILE"}, reload: "'change' with its name", programs: []string{"node"}},
	{who: "Node fs.watchFile, which polls", argv: []string{"node", "TESTDATA/watch.js", "watchFile", "FILE"}, reload: "another mtime", programs: []string{"node"}},
	{who: "Go fsnotify, on the file", argv: []string{"SELF", "FILE", "FILE"}, reload: "Write"},
	{who: "Go fsnotify, on the directory", argv: []string{"SELF", "DIR", "FILE"}, reload: "Write with its name"},
	{who: "Java WatchService", argv: []string{"java", "TESTDATA/Watch.java", "FILE"}, reload: "ENTRY_MODIFY with its name", programs: []string{"java"}},
}

// quiet is how long nothing is published after an update: what comes sooner is a burst to chokidar.
const quiet = 60 * time.Millisecond

// TestWatchersReloadOnce: every program that watches a file reloads it once for each update from elsewhere, and then sees that update;
// of a burst it sees the last one. docs/files.md shows the table that it prints.
func TestWatchersReloadOnce(t *testing.T) {
	documented(t, "docs/files.md", "watchers", watchersTable(t, 30, 2))
}

// watchersTable publishes on one machine what the watchers hear of on another.
func watchersTable(t *testing.T, updates, bursts int) string {
	t.Helper()
	const name = "config.manageddata.watchers.f"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	kingpin(t, a, "create", name)
	update := func(n int) {
		t.Helper()
		if err := os.WriteFile(a.Path("config", name), fmt.Appendln(nil, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	update(0)
	eventually(t, "it has come to the other machine", func() bool { return b.shows("config/"+name, "0\n") })
	var all []*reloads
	for _, w := range watchers {
		all = append(all, w.start(t, b, name))
	}
	published := 0
	for range updates {
		published++
		update(published)
		for _, r := range all {
			r.see(t, published)
			r.watching(t)
		}
		passes(t, quiet)
	}
	for _, r := range all {
		if lines := r.lines + len(r.watch.lines); lines > published {
			t.Errorf("%s: %d reloads for %d updates, each waited for", r.who, lines, published)
		}
	}
	for range bursts {
		const burst = 25
		for range burst {
			published++
			update(published)
		}
		for _, r := range all {
			if r.gaps == "" {
				r.see(t, published)
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n| who watches | a reload is | for each quiet update | after a burst |\n| --- | --- | --- | --- |\n")
	for _, r := range all {
		burst := "the last version"
		if r.gaps != "" {
			burst = "maybe not the last version: " + r.gaps
		}
		fmt.Fprintf(&table, "| %s | %s | 1 reload, of that version | %s |\n", r.who, r.reload, burst)
	}
	return table.String()
}

// reloads is a watcher that runs.
type reloads struct {
	watcher
	*watch
	lines, last int // how many it has printed, and the number in the last
}

// start starts a watcher on a file of a machine, and returns when it watches.
func (w watcher) start(t *testing.T, m *Monitor, name string) *reloads {
	t.Helper()
	needProgram(t, w.programs...)
	interpreter := ""
	if w.modules != "" {
		interpreter = pythonWith(t, w.modules)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("testdata/watchers")
	if err != nil {
		t.Fatal(err)
	}
	path := m.Path("config", name)
	here := strings.NewReplacer("FILE", path, "DIR", filepath.Dir(path), "NAME", name, "TESTDATA", scripts, "PYTHON", interpreter, "SELF", self)
	words := make([]string, len(w.argv))
	for i, word := range w.argv {
		words[i] = here.Replace(word)
	}
	if words[0] == "kingpin" {
		words[0] = kingpinBinary(t)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(m.Env(), "NODE_PATH=/usr/share/nodejs:/usr/lib/nodejs", roleVariable+"=watch", "PYTHONDONTWRITEBYTECODE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if w.ready == "" {
		w.ready = "ready"
	}
	r := &reloads{watcher: w, watch: startWatch(t, cmd, w.ready)}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // with what a shell has started
	return r
}

// see waits until the watcher has seen update n. It never sees an older one than before.
func (r *reloads) see(t *testing.T, n int) {
	t.Helper()
	for r.last < n {
		number, err := strconv.Atoi(r.next(t))
		if err != nil {
			t.Fatalf("%s: %v", r.who, err)
		}
		if number < r.last {
			t.Errorf("%s: it saw %d after %d", r.who, number, r.last)
		}
		r.last = number
		r.lines++
	}
}

// watching waits until one that starts anew for each event watches again.
func (r *reloads) watching(t *testing.T) {
	t.Helper()
	eventually(t, r.who+" watches again", func() bool { return !r.anew || int(r.established.Load()) > r.lines })
}

// pythonWith is an interpreter that has some modules.
func pythonWith(t *testing.T, modules string) string {
	t.Helper()
	for _, interpreter := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(interpreter, "-c", "import "+modules).Run() == nil {
			return interpreter
		}
	}
	need(t, "Python with "+modules, false)
	return ""
}

// watchRole is a program that watches with fsnotify, as most Go programs do: the file itself or its directory.
func watchRole(args []string) error {
	watched, file := args[0], args[1]
	w, err := notify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(watched); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready")
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if e.Name != file || !e.Has(notify.Write) {
				continue
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			fmt.Print(string(content))
		case err := <-w.Errors:
			return err
		}
	}
}
