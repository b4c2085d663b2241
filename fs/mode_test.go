package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A member of the publish group is not root, and owns nothing.
const memberGroup = "4711"

// shellAs runs a script as a member of the publish group.
func (m *machine) shellAs(uid, script string) (string, error) {
	m.t.Helper()
	cmd := exec.Command("setpriv", "--reuid", uid, "--regid", uid, "--groups", memberGroup, "bash", "-c", script)
	cmd.Env = append(os.Environ(), "f="+m.config(), "d="+filepath.Dir(m.config()), "m="+m.mount, "HOME=/")
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestMembersOfThePublishGroupKeepModes: cp -p and its like publish, and then set modes, owners and times, which only an owner may. That
// must not fail once the version is out.
func TestMembersOfThePublishGroupKeepModes(t *testing.T) {
	m := start(t, "PUBLISH_GROUP="+memberGroup)
	for dir := m.mount; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); dir != m.mount && err != nil {
			t.Fatal(err)
		}
	}
	from := `o=$(mktemp); chmod 600 $o; echo "$RANDOM from a member" > $o; touch -d yesterday $o; `
	for _, script := range []string{
		`cp -p $o $f`,
		`cp --preserve=mode,ownership,timestamps $o $f`,
		`cp -p $o $d/.new && mv $d/.new $f`,
		`rsync -a $o $f`,
	} {
		out, err := m.shellAs("4712", from+script+` && cmp $o $f; s=$?; rm -f $o; exit $s`)
		if err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	if out, err := m.shell(`stat -c '%a %u %g' $f`); err != nil || out != "664 0 "+memberGroup+"\n" {
		t.Errorf("afterwards %q, %v", out, err)
	}
}

// TestModesAfterThePublication: shutil.copy and rsync --inplace set modes by the name when they have published.
func TestModesAfterThePublication(t *testing.T) {
	m := start(t)
	from := `o=$(mktemp); chmod 640 $o; echo "$RANDOM" > $o; touch -d yesterday $o; `
	for _, script := range []string{
		`python3 -c 'import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])' $o $f`,
		`python3 -c 'import shutil, sys; shutil.copy2(sys.argv[1], sys.argv[2])' $o $f`,
		`python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2]); os.chmod(sys.argv[2], 0o600); os.chown(sys.argv[2], 1, 1)' $d/.o $f`,
		`rsync -a --inplace $o $f`,
		`cp $o $f; chmod 644 $f; chown 0:0 $f; chmod 755 $d`,
	} {
		out, err := m.shell(from + `cp $o $d/.o; ` + script + ` && cmp $o $f; s=$?; rm -f $o $d/.o; exit $s`)
		if err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	if out, err := m.shell(`stat -c '%a %u %g' $f`); err != nil || out != "644 0 0\n" {
		t.Errorf("afterwards %q, %v", out, err)
	}
}

// TestRefusalsHaveReasons: whatever is refused by errno says why in words.
func TestRefusalsHaveReasons(t *testing.T) {
	m := start(t)
	for _, tt := range []struct{ script, file, reason string }{
		{`chmod 600 $f`, aConfig, "modes and owners are those of every file here"},
		{`chown 1 $f`, aConfig, "modes and owners are those of every file here"},
		{`ln $f $d/config.manageddata.test.hard`, "config.manageddata.test.hard", "only regular files are made here"},
		{`ln -s $f $d/config.manageddata.test.soft`, "config.manageddata.test.soft", "only regular files are made here"},
		{`mkfifo $d/config.manageddata.test.pipe`, "config.manageddata.test.pipe", "only regular files are made here"},
		{`mkdir $d/config.manageddata.test.dir`, "config.manageddata.test.dir", "only regular files are made here"},
		{`install /dev/null $f`, aConfig, "install removes a file before it makes the new one"},
		{`cp -a /proc/version $f`, aConfig, "cp removes a file before it makes the new one"},
		{`python3 -c 'import os, sys; os.truncate(sys.argv[1], 1)' $f`, aConfig, "a file is cut by who has it open"},
		{`echo x > $d/config.test.limits`, "config.test.limits", "no such config; to make it: kingpin create config.test.limits"},
	} {
		m.shellFails(tt.script, "Operation not permitted")
		if reason := m.read(".error/config/" + tt.file); !strings.HasPrefix(reason, "refused: "+tt.reason) {
			t.Errorf("%s: %s", tt.script, reason)
		}
	}
	m.want("config/"+aConfig, "first\n")
}

// TestNameThatWasAScratchFile: somebody creates the name that another program uses for a temporary file. It is listed once, and is no
// temporary file any more.
func TestNameThatWasAScratchFile(t *testing.T) {
	m := start(t)
	const name = aConfig + ".new"
	m.does(`echo private > $f.new`)
	m.remote("config", name, "public\n")
	m.wantSoon("config/"+name, "public\n")
	if out, err := m.shell(`ls $d`); err != nil || out != aConfig+"\n"+name+"\n" {
		t.Errorf("%v: listed %q", err, out)
	}
	m.shellFails(`rm $f.new`, "Operation not permitted")
	m.shellFails(`mv $f.new $f`, "Operation not permitted")
	m.want("config/"+name, "public\n")
	m.want("config/"+aConfig, "first\n")
}

// TestRewoundDirectory: who rewinds a directory that he keeps open sees the names that have come since.
func TestRewoundDirectory(t *testing.T) {
	m := start(t)
	dir, err := os.Open(m.path("config"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	listed := func() []string {
		if _, err := dir.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		names, err := dir.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if names := listed(); len(names) != 1 {
		t.Errorf("at first %q", names)
	}
	m.remote("config", "config.manageddata.test.two", "second\n")
	m.wantSoon("config/config.manageddata.test.two", "second\n")
	if names := listed(); len(names) != 2 {
		t.Errorf("rewound, %q", names)
	}
}
