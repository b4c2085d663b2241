package fs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestGestures runs what people type. Each makes exactly one version, or none and an error that its program reports.
func TestGestures(t *testing.T) {
	m := start(t)
	const other = "config.manageddata.test.other"
	tests := []struct {
		name, script string
		content      string // afterwards; "": as before
		fails        bool
		says         string // in the output of the script
	}{
		{"redirect", `echo hello > $f`, "hello\n", false, ""},
		{"same bytes", `echo first > $f`, "", false, ""},
		{"append", `echo more >> $f`, "first\nmore\n", false, ""},
		{"printf", `printf 'a\nb' > $f`, "a\nb", false, ""},
		{"braces with children", `{ /bin/echo a; /bin/echo b; } > $f`, "a\nb\n", false, ""},
		{"subshell", `( echo a; echo b ) > $f`, "a\nb\n", false, ""},
		{"descriptor kept open", `exec 3> $f; echo a >&3; echo b >&3; exec 3>&-`, "a\nb\n", false, ""},
		{"here document", "cat > $f <<X\nhere\nX\n", "here\n", false, ""},
		{"truncate alone", `: > $f`, "", false, ""},
		{"cp", `echo copied > /tmp/$$; cp /tmp/$$ $f; rm /tmp/$$`, "copied\n", false, ""},
		{"cp -p", `echo kept > /tmp/$$; cp -p /tmp/$$ $f; s=$?; rm /tmp/$$; exit $s`, "kept\n", false, ""},
		{"tee", `echo teed | tee $f > /dev/null`, "teed\n", false, ""},
		{"tee -a", `echo teed | tee -a $f > /dev/null`, "first\nteed\n", false, ""},
		{"dd", `echo dd | dd of=$f status=none`, "dd\n", false, ""},
		{"dd without truncation", `echo FI | dd of=$f conv=notrunc status=none`, "FI\nst\n", false, ""},
		{"read-write", `exec 3<> $f; printf F >&3; exec 3>&-`, "First\n", false, ""},
		{"sed -i", `sed -i s/first/second/ $f`, "second\n", false, ""},
		{"perl -i", `perl -pi -e s/first/third/ $f`, "third\n", false, ""},
		{"python open w", `python3 -c "import sys; open(sys.argv[1], 'w').write('py\n')" $f`, "py\n", false, ""},
		{"python r+", `python3 -c "
import sys
with open(sys.argv[1], 'r+') as f: f.write('F')" $f`, "First\n", false, ""},
		{"python replace", `python3 -c "
import os, sys
f = sys.argv[1]
open(f + '.tmp', 'w').write('replaced\n')
os.replace(f + '.tmp', f)" $f`, "replaced\n", false, ""},
		{"python fsync", `python3 -c "
import os, sys
with open(sys.argv[1], 'w') as f:
    f.write('synced\n'); f.flush(); os.fsync(f.fileno())" $f`, "synced\n", false, ""},
		{"relative rename", `cd $d; echo moved > .tmp; mv .tmp ` + aConfig, "moved\n", false, ""},
		{"rename", `echo moved > $d/.tmp; mv $d/.tmp $f`, "moved\n", false, ""},
		{"killed writer", `python3 -c "
import os, sys, signal
f = open(sys.argv[1], 'w'); f.write('half'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)" $f; true`, "", false, ""},
		{"writer without close", `python3 -c "
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC); os.write(f, b'exit\n'); os._exit(0)" $f`, "exit\n", false, ""},
		{"child goes on writing", `( sleep 0.2; echo late ) > $f &
wait`, "late\n", false, ""},
		{"touch", `touch $f`, "", false, ""},
		{"refused at close", `echo forbidden > /tmp/$$; cp /tmp/$$ $f; s=$?; rm /tmp/$$; exit $s`, "", true, "Invalid argument"},
		{"refused at rename", `echo forbidden > $d/.tmp; mv $d/.tmp $f; s=$?; rm -f $d/.tmp; exit $s`, "", true, "cannot move"},
		{"too large", `head -c 2000000 /dev/zero > $f`, "", true, "File too large"},
		{"rm", `rm -f $f`, "", true, "Operation not permitted"},
		{"mv away", `mv $f $d/elsewhere`, "", true, "Operation not permitted"},
		{"mv into another directory", `mv $f $m/decider/`, "", true, "Operation not permitted"},
		{"swap", `echo x > $d/.x; python3 -c "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2) < 0: sys.exit(os.strerror(ctypes.get_errno()))" $d/.x $f
s=$?; rm $d/.x; exit $s`, "", true, "Invalid argument"},
		{"jetbrains", `echo x > ${f}___jb_tmp___; mv $f ${f}___jb_old___; s=$?; rm ${f}___jb_tmp___; exit $s`, "", true, "Operation not permitted"},
		{"install", `echo x > /tmp/$$; install /tmp/$$ $f; s=$?; rm /tmp/$$; exit $s`, "", true, "Operation not permitted"},
		{"typo", `echo x > $d/config.manageddata.test.onne`, "", true, "Operation not permitted"},
		{"hard link", `ln $f $d/.link`, "", true, "Operation not permitted"},
		{"directory", `mkdir $d/x`, "", true, "Operation not permitted"},
		{"chmod", `chmod 600 $f`, "", true, "Operation not permitted"},
		{"truncate by path", `python3 -c "import os, sys; os.truncate(sys.argv[1], 0)" $f`, "", true, "Operation not permitted"},
		{"serverset", `echo x > $m/serverset/discovery.a.b`, "", true, "Operation not permitted"},
	}
	m.remote("config", other, "untouched\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{t: t, mount: m.mount, state: m.state, log: m.log}
			m.becomes("config", aConfig, "first\n")
			before := m.version("config/" + aConfig)
			out, err := m.shell(tt.script)
			if (err != nil) != tt.fails {
				t.Errorf("failed: %v, want failure: %v; output %q", err, tt.fails, out)
			}
			if !strings.Contains(out, tt.says) {
				t.Errorf("says %q, want %q", out, tt.says)
			}
			content, publishes := tt.content, true
			if content == "" {
				content, publishes = "first\n", false
			}
			m.wantSoon("config/"+aConfig, content)
			if changed := m.version("config/"+aConfig) != before; changed != publishes {
				t.Errorf("a version was made: %v, want %v", changed, publishes)
			}
			m.want("config/"+other, "untouched\n")
		})
	}
	entries, err := os.ReadDir(filepath.Dir(m.config()))
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind in config/: %v, %v", entries, err)
	}
}

// TestOneGestureOneVersion counts: a version number would tell two versions from one only if none is skipped.
func TestOneGestureOneVersion(t *testing.T) {
	m := start(t)
	for _, script := range []string{
		`echo hello > $f`, `echo more >> $f`, `exec 3> $f; echo a >&3; echo b >&3; exec 3>&-`, `sed -i s/a/c/ $f`,
		`python3 -c "
import os, sys
with open(sys.argv[1], 'w') as f:
    f.write('synced\n'); f.flush(); os.fsync(f.fileno())" $f`,
	} {
		before := m.made()
		if out, err := m.shell(script); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		m.announced() // whatever comes after the close has come
		if n := m.made() - before; n != 1 {
			t.Errorf("%s made %d versions", script, n)
		}
	}
}

// TestJSONStaysJSON: what can never become JSON is refused by the write itself, since shells drop the error of a close.
func TestJSONStaysJSON(t *testing.T) {
	m := start(t)
	before := `{"hello": "world"}` + "\n"
	m.remote("config", aConfig, before)
	m.wantSoon("config/"+aConfig, before)
	out, err := m.shell(`echo '{"hello": }' > $f`)
	if err == nil || !strings.Contains(out, "write error: Invalid argument") {
		t.Errorf("%v: %q", err, out)
	}
	m.want("config/"+aConfig, before)
	if reason := m.read(".error/config/" + aConfig); !strings.HasPrefix(reason, "refused: the config holds JSON: no JSON goes on with '}' at byte 10\n") {
		t.Errorf("reason %q", reason)
	}
	for _, script := range []string{`echo '["now", "a list"]' > $f`, `{ echo '{'; echo '}'; } > $f`, `setfattr -n user.kingpin.force -v 1 $f; true`} {
		if out, err := m.shell(script); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	m.want("config/"+aConfig, "{\n}\n")
	if out, err := m.shell(`exec 9> $f; setfattr -n user.kingpin.force -v 1 /proc/self/fd/9; echo plain >&9; exec 9>&-`); err != nil {
		t.Errorf("forced: %v: %s", err, out)
	}
}

func TestRegistryAway(t *testing.T) {
	m := start(t)
	m.order("/down", "yes")
	out, err := m.shell(`echo x > $f`)
	if err == nil || !strings.Contains(out, "No route to host") {
		t.Errorf("%v: %q", err, out)
	}
	m.want("config/"+aConfig, "first\n")
	m.order("/down", "no")
	if out, err := m.shell(`echo back > $f`); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	m.want("config/"+aConfig, "back\n")
	if _, err := os.Stat(m.path(".error/config/" + aConfig)); !os.IsNotExist(err) {
		t.Errorf("the refusal outlived the next good write: %v", err)
	}
}

func TestTypoSaysWhatWasMeant(t *testing.T) {
	m := start(t)
	m.shell(`echo x > $d/config.manageddata.test.onee`)
	reason := m.read(".error/config/config.manageddata.test.onee")
	for _, want := range []string{"nearest: " + aConfig, "kingpin create config.manageddata.test.onee", "(uid 0) by bash"} {
		if !strings.Contains(reason, want) {
			t.Errorf("%q does not say %q", reason, want)
		}
	}
}

func TestCreateByWrite(t *testing.T) {
	m := start(t, "CREATE_BY_WRITE=1")
	for i, script := range []string{`echo new > $d/config.manageddata.new.a`, `echo new > $d/.t; mv $d/.t $d/config.manageddata.new.b`} {
		if out, err := m.shell(script); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
		m.want("config/config.manageddata.new."+string(rune('a'+i)), "new\n")
	}
}

// bound is the config, bind-mounted by itself.
func (m *machine) bound() string {
	m.t.Helper()
	bound := filepath.Join(m.t.TempDir(), "bound")
	if err := os.WriteFile(bound, nil, 0o644); err != nil {
		m.t.Fatal(err)
	}
	m.announced() // a path whose entry the kernel is told to forget meanwhile cannot be mounted
	if err := syscall.Mount(m.config(), bound, "", syscall.MS_BIND, ""); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { syscall.Unmount(bound, syscall.MNT_DETACH) })
	return bound
}

// TestBoundFile: a file that is bind-mounted by itself follows every publication, and can be written.
func TestBoundFile(t *testing.T) {
	m := start(t)
	bound := m.bound()
	m.remote("config", aConfig, "second, longer\n")
	eventually(t, "the bound file follows", func() bool {
		data, err := os.ReadFile(bound)
		return err == nil && string(data) == "second, longer\n"
	})
	if err := os.WriteFile(bound, []byte("through the bound file\n"), 0); err != nil {
		t.Fatal(err)
	}
	m.wantSoon("config/"+aConfig, "through the bound file\n")
}

func TestScratchIsPrivate(t *testing.T) {
	m := start(t)
	scratch := filepath.Join(filepath.Dir(m.config()), ".mine")
	if err := os.WriteFile(scratch, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := m.shell(`ls -a $d; setpriv --reuid=1234 --clear-groups ls -a $d; echo; setpriv --reuid=1234 --clear-groups cat $d/.mine`)
	mine, others, _ := strings.Cut(out, "config.manageddata.test.one\n")
	if !strings.Contains(mine, ".mine") || strings.Contains(strings.Split(others, "\n\n")[0], ".mine\n") {
		t.Errorf("listings:\n%s", out)
	}
	if !strings.Contains(out, "No such file") && !strings.Contains(out, "Permission denied") {
		t.Errorf("somebody else reads it:\n%s", out)
	}
	if err := os.Remove(scratch); err != nil {
		t.Error(err)
	}
}

func TestRights(t *testing.T) {
	m := start(t)
	out, err := m.shell(`setpriv --reuid=1234 --clear-groups bash -c "echo x > $f"`)
	if err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("%v: %q", err, out)
	}
	m.want("config/"+aConfig, "first\n")
}

func TestAttributes(t *testing.T) {
	m := start(t)
	m.order("/graph?dep=web.dep", aConfig)
	out, err := m.shell(`getfattr -d --absolute-names $f; stat -c '%s %F %a' $f; df $m | tail -1`)
	if err != nil {
		t.Fatal(err, out)
	}
	for _, want := range []string{`user.kingpin.author="elsewhere@there"`, `user.kingpin.message="remote"`, `user.kingpin.sha256="`,
		`user.kingpin.dependencies="web.dep"`, "6 regular file 644", "kingpin"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	first, err := os.Stat(m.config())
	if err != nil {
		t.Fatal(err)
	}
	m.remote("config", aConfig, "second\n")
	m.wantSoon("config/"+aConfig, "second\n")
	second, err := os.Stat(m.config())
	if err != nil {
		t.Fatal(err)
	}
	if !second.ModTime().After(first.ModTime()) || os.SameFile(first, second) {
		t.Errorf("mtime %v then %v; the same inode: %v", first.ModTime(), second.ModTime(), os.SameFile(first, second))
	}
}

func TestTree(t *testing.T) {
	m := start(t)
	m.remote("serverset", "discovery.user.prod", "10.0.0.7:9090\n")
	m.remote("decider", "new_ranker", "42\n")
	m.order("/graph?dep=web.dep", aConfig+" discovery.user.prod base.dep")
	m.order("/graph?dep=base.dep", "")
	out, err := m.shell(`cd $m; ls; ls web.dep; cat web.dep/* 2>/dev/null; cat decider/new_ranker; readlink web.dep/*; grep -rl first .; find . -type f | sort`)
	want := `base.dep
config
decider
serverset
web.dep
base.dep
config.manageddata.test.one
discovery.user.prod
first
10.0.0.7:9090
42
../base.dep
../config/config.manageddata.test.one
../serverset/discovery.user.prod
./config/config.manageddata.test.one
./config/config.manageddata.test.one
./decider/new_ranker
./serverset/discovery.user.prod
`
	if out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

func TestSubscribeByLink(t *testing.T) {
	m := start(t)
	m.order("/graph?dep=web.dep", "")
	m.order("/graph?dep=base.dep", aConfig)
	if out, err := m.shell(`cd $m; ln -s ../config/` + aConfig + ` web.dep/ && cat web.dep/* && rm web.dep/` + aConfig + ` && ls web.dep`); err != nil || out != "first\n" {
		t.Errorf("%v: %q", err, out)
	}
	out, err := m.shell(`cd $m/web.dep; ln -s ../config/` + aConfig + ` . && cat * && rm ` + aConfig + ` && ls`)
	if err != nil || out != "first\n" {
		t.Errorf("from within the directory: %v: %q", err, out)
	}
	out, err = m.shell(`rm -f $m/base.dep/*`)
	if err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("base.dep: %v: %q", err, out)
	}
}

func TestReadsSurviveTheServer(t *testing.T) {
	m := start(t)
	old, err := os.Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for range 5 {
		m.killServer()
		out, err := m.shell(`cat $f`)
		if err != nil || out != "first\n" {
			t.Fatalf("%v: %q", err, out)
		}
	}
	buf := make([]byte, 100)
	if n, err := old.ReadAt(buf, 0); string(buf[:n]) != "first\n" {
		t.Errorf("%q %v", buf[:n], err)
	}
	if out, err := m.shell(`echo after > $f; cat $f`); err != nil || out != "after\n" {
		t.Errorf("%v: %q", err, out)
	}
}
