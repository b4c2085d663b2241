package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFleetAnotherEnsembleIsNotBelieved: somebody wiped ZooKeeper, or restored a backup, and it holds older things than the machines
// do. They keep what they have, say so, also after a restart, and take it when an operator tells them to.
func TestFleetAnotherEnsembleIsNotBelieved(t *testing.T) {
	t.Parallel() // it waits more than it works
	const name = "config.manageddata.not.forgotten"
	f := startFleet(t)
	o := f.site(t)
	m := startMonitor(t, o)
	kingpin(t, m, "create", name)
	succeed(t, m, "echo good > config/"+name)
	remembered := filepath.Join(o.State, "ensemble.json")
	eventually(t, "the ensemble is remembered", func() bool {
		content, err := os.ReadFile(remembered)
		return err == nil && strings.Contains(string(content), `"hosts":"`+f.zk.Addr+`"`)
	})
	f.zk.Kill()
	if err := f.zk.Wipe(); err != nil {
		t.Fatal(err)
	}
	f.startZooKeeper(t)
	f.asOld(t, "burn", "200") // so that it has seen as many changes as the old one
	old := filepath.Join(f.dir, "old")
	if err := os.WriteFile(old, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.direct(t, "dep", "create", webDep)
	f.direct(t, "create", name, old)

	frozen := func() bool {
		status := kingpin(t, m, "status")
		return strings.Contains(status, "; frozen for ") && strings.Contains(status, "kingpin accept --ensemble")
	}
	eventually(t, "the machine says that it does not believe it", frozen)
	if status := kingpin(t, m, "status", "-o", "json"); !strings.Contains(status, `"frozen": true`) || !strings.Contains(status, `"ready": true`) {
		t.Errorf("status says\n%s", status)
	}
	refusedOpen(t, m, name)
	stop(t, m)
	m = startMonitor(t, o)
	eventually(t, "after a restart it still does not", frozen)
	if got := read(t, m.Path("config", name)); got != "good\n" {
		t.Errorf("it shows %q", got)
	}

	kingpin(t, m, "accept", "--ensemble")
	eventually(t, "what was accepted is here", func() bool { return m.shows("config/"+name, "old\n") })
	soon(t, "and is written again", func() bool { return shell(t, m, "echo new > config/"+name).code == 0 })
	stop(t, m)
	m = startMonitor(t, o)
	if got := read(t, m.Path("config", name)); got != "new\n" {
		t.Errorf("after another restart it shows %q", got)
	}
	f.direct(t, "put", name, old)
	eventually(t, "it follows the new ensemble", func() bool { return m.shows("config/"+name, "old\n") })
	if o := result(t, m.Command(t.Context(), "accept", "--ensemble")); o.code != 0 || !strings.Contains(o.stderr, "nothing to accept") {
		t.Errorf("to accept once more: %v", o)
	}
}
