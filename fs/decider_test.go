package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withDeciders is a mount with the map of the deciders and one of them.
func withDeciders(t *testing.T, env ...string) *machine {
	t.Helper()
	m := start(t, env...)
	m.remote("config", "config.manageddata.admin.decider", `{"gate": 17}`)
	m.remote("decider", "gate", "17\n")
	m.wantSoon("decider/gate", "17\n")
	m.announced()
	return m
}

// TestDeciderGestures runs what people type at deciders. x is the decider gate, n one that is not there.
func TestDeciderGestures(t *testing.T) {
	m := withDeciders(t)
	tests := []struct {
		name, script string
		content      string // of x afterwards; "": as before
		born         string // content of n afterwards; "": it is not there
		says         string // in the output of the script, which fails then
	}{
		{"echo", `echo 42 > $x`, "42\n", "", ""},
		{"echo of what it was", `echo 17 > $x`, "", "", ""},
		{"printf", `printf 42 > $x`, "42\n", "", ""},
		{"digit by digit", `printf '100\n' | dd of=$x bs=1 status=none`, "100\n", "", ""},
		{"two prints", `{ printf 4; printf '2\n'; } > $x`, "42\n", "", ""},
		{"tee", `echo 42 | tee $x > /dev/null`, "42\n", "", ""},
		{"cp", `echo 42 > /tmp/$$; cp /tmp/$$ $x; rm /tmp/$$`, "42\n", "", ""},
		{"cp -p", `echo 42 > /tmp/$$; cp -p /tmp/$$ $x; rm /tmp/$$`, "42\n", "", ""},
		{"sed -i", `sed -i s/17/42/ $x`, "42\n", "", ""},
		{"perl -i", `perl -pi -e s/17/42/ $x`, "42\n", "", ""},
		{"rename", `echo 42 > $d/.new; mv $d/.new $x`, "42\n", "", ""},
		{"rename without a newline", `printf 42 > $d/.new; mv $d/.new $x`, "42\n", "", ""},
		{"python replace", `python3 -c "
import os, sys
open(sys.argv[1] + '.tmp', 'w').write('42')
os.replace(sys.argv[1] + '.tmp', sys.argv[1])" $x`, "42\n", "", ""},
		{"python fsync", `python3 -c "
import os, sys
with open(sys.argv[1], 'w') as f:
    f.write('42'); f.flush(); os.fsync(f.fileno())" $x`, "42\n", "", ""},
		{"in place", `echo 99 1<> $x`, "99\n", "", ""},
		{"truncate alone", `: > $x`, "", "", ""},
		{"touch", `touch $x`, "", "", ""},
		{"refused, then not", `exec 3> $x; echo 250 >&3; echo 42 >&3; exec 3>&-`, "42\n", "", ""},

		{"too much", `echo 250 > $x`, "", "", "write error: Invalid argument"},
		{"too much in two prints", `{ printf 2; printf '50\n'; } > $x`, "", "", "write error: Invalid argument"},
		{"too much without a newline", `printf 250 > $x`, "", "", "write error: Invalid argument"},
		{"words", `echo on > $x`, "", "", "write error: Invalid argument"},
		{"nothing", `echo > $x`, "", "", "write error: Invalid argument"},
		{"two lines", `/usr/bin/printf '42\n43\n' > $x`, "", "", "write error: Invalid argument"},
		{"append", `echo 42 >> $x`, "", "", "write error: Invalid argument"},
		{"cut to nothing", `truncate -s 0 $x`, "", "", "Invalid argument"},
		{"too much by rename", `echo 250 > $d/.new; mv $d/.new $x; s=$?; rm -f $d/.new; exit $s`, "", "", "cannot move"},
		{"mv from elsewhere", `echo 42 > /tmp/$$; mv /tmp/$$ $x; s=$?; rm -f /tmp/$$; exit $s`, "", "", "Operation not permitted"},
		{"install", `echo 42 > /tmp/$$; install /tmp/$$ $x; s=$?; rm /tmp/$$; exit $s`, "", "", "Operation not permitted"},
		{"mv away", `mv $x $d/elsewhere`, "", "", "Operation not permitted"},
		{"chmod", `chmod 600 $x`, "", "", "Operation not permitted"},
		{"upper case", `echo 42 > $d/Gate`, "", "", "Operation not permitted"},

		{"a new one", `echo 5 > $n`, "", "5\n", ""},
		{"a new one appended to", `echo 5 >> $n`, "", "5\n", ""},
		{"a new one without a newline", `printf 5 > $n`, "", "5\n", ""},
		{"a new one by rename", `echo 5 > $d/.new; mv $d/.new $n`, "", "5\n", ""},
		{"a new one by python", `python3 -c "
import os, sys
open(sys.argv[1] + '.tmp', 'w').write('5')
os.replace(sys.argv[1] + '.tmp', sys.argv[1])" $n`, "", "5\n", ""},
		{"a new one, not written", `: > $n`, "", "", ""},
		{"a new one, refused", `echo 500 > $n`, "", "", "write error: Invalid argument"},
		{"a new one and gone", `echo 5 > $n; rm $n`, "", "", ""},
		{"mktemp", `t=$(mktemp -p $d nXXXXXX); echo 5 > $t; rm $t`, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{t: t, mount: m.mount, state: m.state, log: m.log}
			m.remote("decider", "gate", "17\n")
			m.wantSoon("decider/gate", "17\n")
			before := m.made()
			out, err := m.shell("x=$m/decider/gate n=$m/decider/fresh d=$m/decider; " + tt.script)
			if (err != nil) != (tt.says != "") {
				t.Errorf("failed: %v; output %q", err, out)
			}
			if !strings.Contains(out, tt.says) {
				t.Errorf("says %q, want %q", out, tt.says)
			}
			content, versions := tt.content, 1
			if content == "" {
				content, versions = "17\n", 0
			}
			if tt.born != "" || strings.Contains(tt.script, "rm $n") {
				versions++
			}
			m.wantSoon("decider/gate", content)
			if made := m.made() - before; made != versions {
				t.Errorf("%d versions were made, want %d", made, versions)
			}
			born, err := os.ReadFile(m.path("decider/fresh"))
			if string(born) != tt.born || (err == nil) != (tt.born != "") {
				t.Errorf("the new one holds %q, %v, want %q", born, err, tt.born)
			}
			if tt.born != "" {
				if out, err := m.shell(`rm $m/decider/fresh`); err != nil {
					t.Error(err, out)
				}
			}
		})
	}
	entries, err := os.ReadDir(m.path("decider"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind in decider/: %v, %v", entries, err)
	}
}

// TestDeciderIsPublishedByTheWrite: what a write returns from is there, though the file is still open, and every line is a decision.
func TestDeciderIsPublishedByTheWrite(t *testing.T) {
	m := withDeciders(t)
	file, err := os.OpenFile(m.path("decider/gate"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, percent := range []int{1, 5, 100} {
		if _, err := file.WriteAt(fmt.Appendf(nil, "%d\n", percent), 0); err != nil {
			t.Fatal(err)
		}
		m.want("decider/gate", fmt.Sprintf("%d\n", percent))
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := file.WriteAt([]byte("250\n"), 0); errnoOf(err) != syscall.EINVAL {
		t.Errorf("250: %v", err)
	}
	m.want("decider/gate", "100\n")
	reason := m.read(".error/decider/gate")
	for _, line := range []string{"refused: 250 is not a whole number from 0 to 100\n", "still:   100, version ", "who:     root (uid 0) by fs.test"} {
		if !strings.Contains(reason, line) {
			t.Errorf("the reason is %q, want %q in it", reason, line)
		}
	}
	if _, err := file.WriteAt([]byte("7\n"), 0); err != nil {
		t.Fatal(err)
	}
	if got := m.read(".error/decider/gate"); !strings.Contains(got, "no such file") {
		t.Errorf("the reason outlives a good write: %q", got)
	}
}

// TestDeciderWhileEverythingIsAway: the open fails, since echo drops what comes later.
func TestDeciderWhileEverythingIsAway(t *testing.T) {
	m := withDeciders(t)
	m.order("/down", "yes")
	for _, script := range []string{`echo 42 > $m/decider/gate`, `echo 42 > $m/decider/fresh`, `rm $m/decider/gate`} {
		if out, err := m.shell(script); err == nil || !strings.Contains(out, "No route to host") {
			t.Errorf("%s: %v: %q", script, err, out)
		}
	}
	m.want("decider/gate", "17\n")
}

// TestDeciderRemovalHoldsUpNobody: while the publication of a removal takes its time, everything beside it goes on.
func TestDeciderRemovalHoldsUpNobody(t *testing.T) {
	m := withDeciders(t)
	m.remote("decider", "beside", "1\n")
	release := m.hold("config.manageddata.admin.decider")
	removed := make(chan error, 1)
	go func() { removed <- os.Remove(m.path("decider/gate")) }()
	m.held(1)
	for i := range 20 {
		m.goesOn(map[string]func() error{
			"read": func() error { m.want("decider/beside", "1\n"); return nil },
			"list": func() error { _, err := os.ReadDir(m.path("decider")); return err },
			"cold": func() error {
				if _, err := os.Stat(m.path(fmt.Sprint("decider/none", i))); !os.IsNotExist(err) {
					return fmt.Errorf("what is not there: %w", err)
				}
				return nil
			},
		})
	}
	select {
	case err := <-removed:
		t.Fatalf("it did not wait for the outcome: %v", err)
	default:
	}
	release()
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path("decider/gate")); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

// TestManyDecidersAreNotRemovedByAccident: rm decider/* stops after three.
func TestManyDecidersAreNotRemovedByAccident(t *testing.T) {
	m := withDeciders(t)
	for i := range 5 {
		m.remote("decider", fmt.Sprintf("gate%d", i), "1\n")
	}
	m.wantSoon("decider/gate4", "1\n")
	if out, err := m.shell(`rm $m/decider/*`); err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("%v: %q", err, out)
	}
	if left, err := os.ReadDir(m.path("decider")); err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestDeciderEvents: on the writer's machine and on others a change is one event on the directory and one on the file, and a decider
// that comes or goes is created or deleted once.
func TestDeciderEvents(t *testing.T) {
	m := withDeciders(t, "CLOSE_AFTER_WRITE=1h") // an echo may take its time
	dir := m.watchFor(m.path("decider"), "create,delete,close_write,moved_to", "%e %f")
	file := m.watchFor(m.path("decider/gate"), "close_write,delete_self", "%e")
	shell := func(script string) {
		t.Helper()
		if out, err := m.shell(script); err != nil {
			t.Fatal(err, out)
		}
	}
	for i := range 10 {
		m.remote("decider", "gate", fmt.Sprintf("%d\n", i))
		dir.expect("CLOSE_WRITE,CLOSE gate")
		file.expect("CLOSE_WRITE,CLOSE")
		shell(fmt.Sprintf(`echo %d > $m/decider/gate`, 50+i))
		dir.expect("CLOSE_WRITE,CLOSE gate")
		file.expect("CLOSE_WRITE,CLOSE")
		dir.quiet("echo")
		file.quiet("echo")
	}
	shell(`echo 5 > $m/decider/fresh`)
	dir.expect("CREATE fresh")
	dir.expect("CLOSE_WRITE,CLOSE fresh")
	dir.quiet("a birth here")
	fresh := m.watchFor(m.path("decider/fresh"), "close_write,delete_self", "%e")
	shell(`rm $m/decider/fresh`)
	dir.expect("DELETE fresh")
	fresh.expect("DELETE_SELF")
	dir.quiet("a death here")
	for range 3 {
		m.remote("decider", "far", "5\n")
		dir.expect("CREATE far")
		dir.expect("CLOSE_WRITE,CLOSE far")
		dir.quiet("a birth elsewhere")
		m.order("/remove?kind=decider&name=far", "")
		dir.expect("DELETE far")
		m.announced()
		dir.quiet("a death elsewhere")
	}
	shell(`echo 5 > $m/decider/.t; mv $m/decider/.t $m/decider/gate`)
	file.expect("CLOSE_WRITE,CLOSE")
	file.quiet("a rename")
}

// TestDeciderThatIsKeptOpenIsHeard: a writer that does not close the file is an event nevertheless, a moment later.
func TestDeciderThatIsKeptOpenIsHeard(t *testing.T) {
	m := withDeciders(t, "CLOSE_AFTER_WRITE=4s") // who closes at once may take that long
	dir := m.watch(filepath.Dir(m.path("decider/gate")))
	file, err := os.OpenFile(m.path("decider/gate"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("42\n"); err != nil {
		t.Fatal(err)
	}
	dir.expect("gate")
	dir.quiet("a write")
	// Nor does it matter to another writer, whose close is the event, that it has the file open.
	if out, err := m.shell(`echo 43 > $m/decider/gate`); err != nil {
		t.Fatal(err, out)
	}
	dir.expect("gate")
	m.announced() // a second event would come before that
	dir.quiet("a write beside it")
}
