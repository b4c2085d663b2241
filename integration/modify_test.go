package integration

import (
	"fmt"
	"testing"
	"time"

	notify "github.com/fsnotify/fsnotify"
)

// TestEventsOfAWriterHereReachWhoAsksForModifyAlone: fsnotify, viper, Node's fs.watch and Java's WatchService do not ask for close_write. On a directory
// the writer's own IN_MODIFY comes when it writes, which is before anybody can read what it wrote: one must come after.
func TestEventsOfAWriterHereReachWhoAsksForModifyAlone(t *testing.T) {
	const name = "config.manageddata.demo.greeting"
	m := monitor(t)
	kingpin(t, m, "create", name)
	w, err := notify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(m.Path("config")); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		for how, line := range map[string]string{
			"echo": `echo '"%s"' > config/` + name,
			"dd":   `echo '"%s"' | dd status=none conv=fsync of=config/` + name,
			"mv":   `echo '"%s"' > config/.tmp && mv config/.tmp config/` + name,
		} {
			content := fmt.Sprint(how, round)
			succeed(t, m, fmt.Sprintf(line, content))
			deadline := time.After(patience)
			for seen := ""; seen != "\""+content+"\"\n"; {
				select {
				case <-w.Events:
					seen = read(t, m.Path("config", name))
				case <-deadline:
					t.Fatalf("%s: who reads at every event has %q", line, seen)
				}
			}
		}
	}
}
