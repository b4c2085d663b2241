package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFleetHistory: a machine that has never had them reads the versions that others published, from S3, and rolls back for all.
func TestFleetHistory(t *testing.T) {
	const name = "config.manageddata.fleet.history"
	f := startFleet(t)
	a := f.machine(t)
	kingpin(t, a, "create", name, "--dep", webDep)
	for i := range 7 {
		body := fmt.Sprintf("version %d\n", i)
		if out := shell(t, a, fmt.Sprintf("printf '%s' | kingpin put %s -m 'number %d'", body, name, i)); out.code != 0 {
			t.Fatal(out)
		}
	}
	b := f.machine(t)
	eventually(t, "b has it", func() bool { return b.shows("config/"+name, "version 6\n") })

	var versions []string
	for _, line := range strings.Split(strings.TrimSpace(kingpin(t, b, "history", name, "-o", "name")), "\n") {
		_, v, _ := strings.Cut(line, "@")
		versions = append(versions, v)
	}
	if len(versions) != 7 {
		t.Fatalf("b lists %q", versions)
	}
	for i := range 7 {
		if got, want := read(t, b.Path(".history", name, versions[6-i])), fmt.Sprintf("version %d\n", i); got != want {
			t.Errorf("version %s holds %q, want %q", versions[6-i], got, want)
		}
	}
	if got := read(t, b.Path(".history", name, "previous")); got != "version 5\n" {
		t.Errorf("the one before is %q", got)
	}
	if table := kingpin(t, b, "history", name); !strings.Contains(table, "number 6") || !strings.Contains(table, "number 0") {
		t.Error(table)
	}
	if got := f.direct(t, "history", name, "-n", "3"); !strings.Contains(got, "number 6") {
		t.Error(got)
	}
	if got := f.direct(t, "cat", name+"@2"); got != "version 4\n" {
		t.Errorf("two before: %q", got)
	}
	kingpin(t, b, "rollback", name, "3", "-m", "it was better")
	eventually(t, "a has it", func() bool { return a.shows("config/"+name, "version 3\n") })
	if table := kingpin(t, a, "history", name, "-n", "1"); !strings.Contains(table, "it was better") {
		t.Error(table)
	}

	f.s3.Stop()
	if got := read(t, b.Path(".history", name, versions[6])); got != "version 0\n" {
		t.Errorf("what was fetched is %q with S3 away", got)
	}
	if out := shell(t, a, "cat .history/"+name+"/"+versions[6]); out.code == 0 || !strings.Contains(out.stderr, "No route to host") && !strings.Contains(out.stderr, "timed out") {
		t.Error(out)
	}
	eventually(t, "a list that is not the one of a moment ago", func() bool {
		out := shell(t, a, "kingpin history "+name)
		return out.code == 0 && strings.Contains(out.stderr, "this is what this machine has")
	})
	if out := shell(t, a, "cat config/"+name); out.code != 0 {
		t.Error(out)
	}
}

// TestFleetDirectories: what is done to directories on one machine, every subscriber follows at once, without a restart.
func TestFleetDirectories(t *testing.T) {
	const name, other = "config.manageddata.fleet.one", "config.manageddata.fleet.other"
	f := startFleet(t)
	a, b := f.machine(t), f.machine(t)
	f.direct(t, "dep", "create", "elsewhere.dep")
	for _, n := range []string{name, other} {
		f.direct(t, "create", n, "--dep", "elsewhere.dep")
	}
	does := func(m *Monitor, line string) {
		t.Helper()
		if out := shell(t, m, line); out.code != 0 {
			t.Errorf("%s: %v", line, out)
		}
	}
	there := func(m *Monitor, path ...string) func() bool {
		return func() bool { _, err := os.Stat(m.Path(path...)); return err == nil }
	}
	does(a, "mkdir team.dep && ln -s ../config/"+name+" team.dep/ && ls -l team.dep")
	if there(b, "team.dep")() {
		t.Error("b shows what nobody follows")
	}
	does(a, "ln -s ../team.dep web.dep/")
	eventually(t, "b follows the nested one", there(b, "team.dep", name))
	does(b, "echo hello > config/"+name)
	eventually(t, "a hears of it", func() bool { return a.shows("config/"+name, "hello\n") })
	does(b, "ln -s ../config/"+other+" team.dep/")
	eventually(t, "a follows the other", there(a, "team.dep", other))
	if out := shell(t, a, "ln -s ../web.dep team.dep/"); out.code == 0 || !strings.Contains(read(t, a.Path(".error/dep/team.dep")), "would hold itself") {
		t.Error(out)
	}
	if out := shell(t, a, "rmdir team.dep"); out.code == 0 {
		t.Error(out)
	}
	does(a, "rm team.dep/"+other)
	eventually(t, "b has lost the member", func() bool { return !there(b, "team.dep", other)() })
	does(a, "rm team.dep/"+name+" web.dep/team.dep && rmdir team.dep")
	eventually(t, "b has lost the directory", func() bool { return !there(b, "team.dep")() })
	if out := f.direct(t, "dep", "ls", "--all"); strings.Contains(out, "team.dep") {
		t.Error(out)
	}
}
