package fs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// shellFails runs a script that has to fail with these words.
func (m *machine) shellFails(script, words string) {
	m.t.Helper()
	out, err := m.shell(script)
	if err == nil || !strings.Contains(out, words) {
		m.t.Errorf("%s: %s, %v, want %q", script, out, err, words)
	}
}

func (m *machine) does(script string) {
	m.t.Helper()
	if out, err := m.shell(script); err != nil {
		m.t.Errorf("%s: %v: %s", script, err, out)
	}
}

func TestDependenciesAreMadeAndDeletedAsDirectories(t *testing.T) {
	m := start(t)
	root := m.watchFor(m.mount, "create,delete", "%f")
	m.does(`mkdir $m/new.dep && ls -ld $m/new.dep && ls $m | grep -q new.dep`)
	if got := root.next(); got != "new.dep" {
		t.Errorf("the root heard of %q", got)
	}
	m.does(`mkdir -p $m/new.dep && cd $m && ln -s ../config/` + aConfig + ` new.dep/ && cat new.dep/` + aConfig)
	m.shellFails(`mkdir $m/new.dep`, "File exists")
	m.shellFails(`rmdir $m/new.dep`, "not empty")
	if got := m.read(".error/dep/new.dep"); !strings.HasPrefix(got, "refused: new.dep has members (1)") {
		t.Error(got)
	}
	m.does(`cd $m/new.dep && rm ` + aConfig + ` && cd .. && rmdir new.dep`)
	if got := root.next(); got != "new.dep" {
		t.Errorf("the root heard of %q", got)
	}
	if _, err := os.Stat(m.path("new.dep")); !os.IsNotExist(err) {
		t.Error(err)
	}
	m.shellFails(`rmdir $m/new.dep`, "No such file")
	m.shellFails(`mkdir $m/new`, "Operation not permitted")
	if got := m.read(".error/dep/new"); !strings.Contains(got, "mkdir new.dep") {
		t.Error(got)
	}
	m.shellFails(`mkdir "$m/a b.dep"`, "Invalid argument")
	m.shellFails(`mkdir $m/config/x.dep`, "Operation not permitted")
	m.shellFails(`mkdir $m/elsewhere.dep`, "File exists")
	m.shellFails(`rmdir $m/config`, "Operation not permitted")
	m.does(`mkdir $m/held.dep`)
	m.shellFails(`rmdir $m/held.dep`, "Operation not permitted")
	m.shellFails(`rm -rf $m/held.dep`, "Operation not permitted")
	if got := m.read(".error/dep/held.dep"); !strings.Contains(got, "held.dep is in web.dep") {
		t.Error(got)
	}
	m.order("/down", "yes")
	m.shellFails(`mkdir $m/other.dep`, "No route to host")
	m.shellFails(`rmdir $m/held.dep`, "No route to host")
	m.order("/down", "no")
	m.killServer()
	m.does(`cd $m && ls -d held.dep && mkdir other.dep && rmdir other.dep`)
}

// What a system call makes here is one event; what comes from elsewhere is one too.
func TestADirectoryIsOneEvent(t *testing.T) {
	m := start(t)
	events := m.watchFor(m.mount, "create,delete", "%e %f")
	m.does(`mkdir $m/a.dep && rmdir $m/a.dep`)
	m.order("/graph?dep=b.dep", aConfig)
	events.expect("CREATE,ISDIR a.dep")
	events.expect("DELETE,ISDIR a.dep")
	events.expect("CREATE,ISDIR b.dep")
	m.order("/ungraph?dep=b.dep", "")
	events.expect("DELETE,ISDIR b.dep")
	m.does(`mkdir $m/z.dep`)
	events.expect("CREATE,ISDIR z.dep")
}

// MKDIR holds the lock of the root, which nobody reads configs through.
func TestASlowMkdirHoldsNoReader(t *testing.T) {
	m := start(t)
	tries := 0
	beside := map[string]func() error{
		"read":  func() error { _, err := os.ReadFile(m.config()); return err },
		"list":  func() error { _, err := os.ReadDir(m.path("config")); return err },
		"cold":  func() error { m.read(fmt.Sprint("config/.none", tries)); return nil },
		"write": func() error { return os.WriteFile(m.config(), fmt.Append(nil, tries), 0) },
	}
	eventually(t, "everything goes on beside a mkdir", func() bool {
		tries++
		name := fmt.Sprintf("slow%d.dep", tries)
		release := m.hold(name)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.shellFails(`mkdir $m/`+name, "timed out")
		}()
		m.held(1)
		<-time.After(lockedWait / 4) // by then it waits with the lock of the root, for the rest of the time
		done := make(chan string, len(beside))
		for what, do := range beside {
			go func() {
				if err := do(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				done <- what
			}()
		}
		wentOn := 0 // while it waited; who needs the lock does not, and a slow machine may not either, this time
		for over := false; !over; {
			select {
			case what := <-done:
				delete(beside, what)
				wentOn++
			case <-ended:
				over = true
			}
		}
		for range cap(done) - wentOn {
			<-done
		}
		release()
		eventually(t, "it is there in the end", func() bool { _, err := os.Stat(m.path(name)); return err == nil })
		eventually(t, "the outcome is told", func() bool { return strings.Contains(m.read(".error/dep/"+name), "and then succeeded") })
		return len(beside) == 0
	})
}

// TestRmRfUnsubscribesNobodyByAccident: users.md 4.
func TestRmRfUnsubscribesNobodyByAccident(t *testing.T) {
	m := start(t)
	var names []string
	for i := range 6 {
		name := fmt.Sprint("config.manageddata.test.n", i)
		m.remote("config", name, "x")
		names = append(names, name)
	}
	m.order("/graph?dep=web.dep", strings.Join(names, " "))
	m.order("/graph?dep=base.dep", aConfig)
	m.wantSoon("web.dep/"+names[5], "x")
	m.wantSoon("base.dep/"+aConfig, "first\n")
	m.shellFails(`rm -rf $m/web.dep`, "Operation not permitted")
	if left, err := os.ReadDir(m.path("web.dep")); err != nil || len(left) != 6 {
		t.Errorf("%d members are left, %v, want 6", len(left), err)
	}
	m.shellFails(`find $m/web.dep -type l -delete`, "Operation not permitted")
	m.shellFails(`cd $m/web.dep && rm `+strings.Join(names, " "), "Operation not permitted")
	if left, err := os.ReadDir(m.path("web.dep")); err != nil || len(left) != 3 {
		t.Errorf("%d members are left, %v, want 3", len(left), err)
	}
	if got := m.read(".error/dep/web.dep"); !strings.Contains(got, "use kingpin dep rm") {
		t.Error(got)
	}
	m.shellFails(`rm -rf $m/base.dep`, "Operation not permitted")
	if got := m.read(".error/dep/base.dep"); !strings.Contains(got, "use kingpin dep rm") {
		t.Error(got)
	}
	m.want("base.dep/"+aConfig, "first\n")
}

// TestSlowRemovalsAreAtOneGo: rm that waits for a slow registry at each name is stopped after three, as if it were quick.
func TestSlowRemovalsAreAtOneGo(t *testing.T) {
	f := New(nil, Options{})
	rm := caller{process: 4711}
	for range maxRemovals {
		if err := f.mayRemove(rm, "members", ""); err != nil {
			t.Fatal(err)
		}
		const took = removalsWithin / 2
		for i, when := range f.removals[rm.process] {
			f.removals[rm.process][i] = when.Add(-took)
		}
		f.removalTook(rm.process, now().Add(-took))
	}
	if err := f.mayRemove(rm, "members", ""); err == nil {
		t.Error("a fourth one is removed")
	}
}

// TestComingsAndGoingsOfTheFleetAreNotRepeatedByUs: what has come or gone elsewhere is acted out here, for the sake of the events. When it
// changes once more meanwhile, the actor must not do to the fleet what he only was to show: take members out of a dependency.
func TestComingsAndGoingsOfTheFleetAreNotRepeatedByUs(t *testing.T) {
	m := start(t)
	var names []string
	for i := range 8 {
		name := fmt.Sprint("config.manageddata.test.n", i)
		m.remote("config", name, "x")
		names = append(names, name)
	}
	for range 60 {
		for _, dep := range []string{"outer.dep", "inner.dep"} {
			m.order("/graph?dep="+dep, strings.Join(names, " "))
		}
		m.order("/graph?dep=inner.dep", names[0])
		m.order("/ungraph?dep=inner.dep", "")
		m.order("/graph?dep=outer.dep", "")
		m.order("/ungraph?dep=outer.dep", "")
	}
	m.order("/graph?dep=outer.dep", strings.Join(names, " "))
	eventually(t, "the last comings were acted out", func() bool {
		entries, err := os.ReadDir(m.path("outer.dep"))
		return err == nil && len(entries) == len(names)
	})
	if edits := strings.Count(m.log.String(), "INFO edit kind="); edits != 0 {
		t.Errorf("%d edits by nobody", edits)
	}
}
