package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestEventsOnePerUpdate: a watch on a file and a watch on its directory hear of every quiet update exactly once, and when they
// hear of it the new content can be read. The watch on the file is on an old version soon, and goes on hearing.
func TestEventsOnePerUpdate(t *testing.T) {
	const name = "config.manageddata.events.quiet"
	updates := 200
	if underLoad() {
		updates = 40
	}
	for gesture, publish := range map[string]string{
		"echo":        `echo %d > config/` + name,
		"cp":          `body=$(mktemp) && echo %d > $body && cp $body config/` + name + ` && rm $body`,
		"sed -i":      `sed -i s/.*/%d/ config/` + name,
		"kingpin put": `echo %d | kingpin put -q ` + name + ` -`,
	} {
		t.Run(gesture, func(t *testing.T) {
			t.Parallel()
			m := monitor(t)
			kingpin(t, m, "create", name)
			kingpin(t, m, "create", name+"_fence")
			path, fence := m.Path("config", name), m.Path("config", name+"_fence")
			succeed(t, m, "echo start | tee config/"+name+" config/"+name+"_fence")
			directory := inotifywait(t, "%w%f", "close_write", filepath.Dir(path)+"/")
			file := inotifywait(t, "%w", "close_write", path, fence)
			onDirectory, onFile := 0, 0
			for n := 1; n <= updates; n++ {
				succeed(t, m, fmt.Sprintf(publish, n))
				for onDirectory < n {
					if directory.next(t) == path { // the temporary files of sed are heard of too
						onDirectory++
					}
				}
				if content := read(t, path); content != fmt.Sprintf("%d\n", n) {
					t.Fatalf("the directory's watch heard of update %d, and the file holds %q", n, content)
				}
				for ; onFile < n; onFile++ {
					file.next(t)
				}
				if content := read(t, path); content != fmt.Sprintf("%d\n", n) {
					t.Fatalf("the file's watch heard of update %d, and the file holds %q", n, content)
				}
			}
			// What is raised once more than it should comes before an event that was asked for after it.
			succeed(t, m, fmt.Sprintf("cd config; echo end > %[1]s.tmp; mv %[1]s.tmp %[1]s", filepath.Base(fence)))
			for _, line := range directory.until(t, fence) {
				if line == path {
					onDirectory++
				}
			}
			onFile += len(file.until(t, fence))
			if onDirectory != updates || onFile != updates {
				t.Errorf("%d updates; the directory's watch heard %d times, the file's %d times", updates, onDirectory, onFile)
			}
		})
	}
}

// TestEventsEveryKind: what programs listen for is there, be it modify or close_write, by name on the directory.
func TestEventsEveryKind(t *testing.T) {
	const name = "config.manageddata.events.kinds"
	m := monitor(t)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo one > config/"+name)
	path := m.Path("config", name)
	for _, event := range []string{"modify", "close_write"} {
		file := inotifywait(t, "%e", event, path)
		directory := inotifywait(t, "%f", event, filepath.Dir(path))
		succeed(t, m, "echo "+event+" > config/"+name)
		directory.until(t, name)
		file.next(t)
	}
}

// TestEventsNoneForTheSameBytes: publishing what is there already makes no version, and no watch on the file hears of it.
func TestEventsNoneForTheSameBytes(t *testing.T) {
	const name = "config.manageddata.events.same"
	m := monitor(t)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo same > config/"+name)
	path := m.Path("config", name)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		succeed(t, m, "echo same > config/"+name)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the same bytes made a version: %v, then %v", before.ModTime(), after.ModTime())
	}
	kingpin(t, m, "create", name+"_fence")
	fence := m.Path("config", name+"_fence")
	watched := inotifywait(t, "%w", "close_write", path, fence)
	for range 5 {
		succeed(t, m, "echo same > config/"+name)
	}
	succeed(t, m, "echo end > config/"+name+"_fence")
	if extra := watched.until(t, fence); len(extra) != 0 {
		t.Errorf("%d events for bytes that were there already", len(extra))
	}
}
