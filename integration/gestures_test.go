package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// gesture is something that people and programs do to a file, and what has to come of it.
type gesture struct {
	name     string
	line     string // shell, in config/; $f is the file, $other a file elsewhere that holds "two"
	before   string // what the file holds before: "one\n" unless given
	after    string // what it holds afterwards: what it held before, unless given
	fails    string // what the program says, when it has to fail
	programs []string
}

// gestures of a config that was "one\n": a gesture that changes the bytes makes exactly one version, any other makes none.
var gestures = []gesture{
	{name: "echo", line: `echo two > $f`, after: "two\n"},
	{name: "printf in pieces", line: `{ printf t; printf w; printf 'o\n'; } > $f`, after: "two\n"},
	{name: "children share a descriptor", line: `{ /bin/echo two; /bin/echo three; } > $f`, after: "two\nthree\n"},
	{name: "a shell keeps a descriptor", line: `exec 3>$f; echo two >&3; echo three >&3; exec 3>&-`, after: "two\nthree\n"},
	{name: "sh without bash", line: `dash -c "echo two > $f"`, after: "two\n", programs: []string{"dash"}},
	{name: "append", line: `echo two >> $f`, after: "one\ntwo\n"},
	{name: "append by children", line: `{ /bin/echo two; /bin/echo three; } >> $f`, after: "one\ntwo\nthree\n"},
	{name: "in place without cutting", line: `printf O 1<> $f >&1`, after: "One\n"},
	{name: "cat", line: `cat $other > $f`, after: "two\n"},
	{name: "cp", line: `cp $other $f`, after: "two\n"},
	{name: "cp -p", line: `cp -p $other $f`, after: "two\n"},
	{name: "cp --remove-destination", line: `cp --remove-destination $other $f`, fails: "Operation not permitted"},
	{name: "tee", line: `echo two | tee $f`, after: "two\n"},
	{name: "tee -a", line: `echo two | tee -a $f`, after: "one\ntwo\n"},
	{name: "dd", line: `dd if=$other of=$f status=none`, after: "two\n"},
	{name: "dd in small blocks", line: `dd if=$other of=$f bs=1 status=none`, after: "two\n"},
	{name: "dd conv=notrunc", line: `printf O | dd of=$f conv=notrunc status=none`, after: "One\n"},
	{name: "dd conv=fsync", line: `dd if=$other of=$f conv=fsync status=none`, after: "two\n"},
	{name: "sort -o", line: `sort -r -o $f $f`, before: "a\nb\n", after: "b\na\n"},
	{name: "sed -i", line: `sed -i s/one/two/ $f`, after: "two\n"},
	{name: "sed -i that matches nothing", line: `sed -i s/other/two/ $f`},
	{name: "perl -i", line: `perl -pi -e s/one/two/ $f`, after: "two\n", programs: []string{"perl"}},
	{name: "mv within the directory", line: `echo two > $f.tmp && mv $f.tmp $f`, after: "two\n"},
	{name: "mv of a hidden file", line: `echo two > .$f.new && mv .$f.new $f`, after: "two\n"},
	{name: "vi", line: `vi -u NONE -es -c '%s/one/two/' -c x $f </dev/null`, after: "two\n", programs: []string{"vi"}},
	{name: "rsync", line: `rsync -a $other $f`, after: "two\n", programs: []string{"rsync"}},
	{name: "rsync --inplace", line: `rsync -a --inplace $other $f`, after: "two\n", programs: []string{"rsync"}},
	{name: "python open w", line: `python3 -c 'open("'$f'", "w").write("two\n")'`, after: "two\n", programs: []string{"python3"}},
	{name: "python open a", line: `python3 -c 'open("'$f'", "a").write("two\n")'`, after: "one\ntwo\n", programs: []string{"python3"}},
	{name: "python open r+", line: `python3 -c 'f = open("'$f'", "r+"); f.truncate(0); f.write("two\n"); f.close()'`,
		after: "two\n", programs: []string{"python3"}},
	{name: "python os.replace", line: `python3 -c 'import os; open("'$f.t'", "w").write("two\n"); os.replace("'$f.t'", "'$f'")'`,
		after: "two\n", programs: []string{"python3"}},
	{name: "kingpin put", line: `kingpin put -q $f $other`, after: "two\n"},
	{name: "kingpin put from a pipe", line: `echo two | kingpin put -q $f -`, after: "two\n"},

	{name: "the same bytes", line: `echo one > $f`},
	{name: "the same bytes by cp", line: `cat $f > /tmp/same$$ && cp /tmp/same$$ $f; e=$?; rm /tmp/same$$; exit $e`},
	{name: "cut without writing", line: `: > $f`},
	{name: "cut in an editor that dies", line: `{ bash -c "exec 3>$f; printf half >&3; kill -9 \$\$"; } 2>/dev/null; true`},
	{name: "touch", line: `touch $f`},
	{name: "cat onto itself", line: `cat $f > $f`, fails: "input file is output file"},
	{name: "truncate", line: `truncate -s 0 $f`, fails: "truncate"},
	{name: "chmod", line: `chmod 600 $f`, fails: "Operation not permitted"},
	{name: "chown", line: `chown 1:1 $f`, fails: "Operation not permitted"},
	{name: "rm", line: `rm $f`, fails: "Operation not permitted"},
	{name: "mv to another name", line: `mv $f config.manageddata.gestures.renamed`, fails: "Operation not permitted"},
	{name: "mv from another file system", line: `cp $other /tmp/moved$$ && mv /tmp/moved$$ $f; e=$?; rm -f /tmp/moved$$; exit $e`,
		fails: "Operation not permitted"},
	{name: "install", line: `install $other $f`, fails: "Operation not permitted"},
	{name: "ln", line: `ln $f $f.link`, fails: "Operation not permitted"},
	{name: "ln -s", line: `ln -s $f config.manageddata.gestures.alias`, fails: "Operation not permitted"},
	{name: "mkfifo", line: `mkfifo config.manageddata.gestures.fifo`, fails: "Operation not permitted"},
	{name: "mkdir", line: `mkdir config.manageddata.gestures.dir`, fails: "Operation not permitted"},
}

// TestGesturesMakeOneVersion: one gesture makes exactly one version, never an empty one, never half of one, and none when the
// bytes are what they were. A watch on the directory hears of it, and nothing but the file is there afterwards.
func TestGesturesMakeOneVersion(t *testing.T) {
	m := monitor(t)
	other := filepath.Join(directory(t), "other")
	if err := os.WriteFile(other, []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, g := range gestures {
		t.Run(g.name, func(t *testing.T) {
			needProgram(t, g.programs...)
			name := fmt.Sprintf("config.manageddata.gestures.g%02d", i)
			kingpin(t, m, "create", name)
			if g.before == "" {
				g.before = "one\n"
			}
			if g.after == "" {
				g.after = g.before
			}
			path := m.Path("config", name)
			if err := os.WriteFile(path, []byte(g.before), 0o644); err != nil {
				t.Fatal(err)
			}
			seen := versions(t, m, name)
			heard := inotifywait(t, "%f", "close_write", filepath.Dir(path)+"/")

			out := shell(t, m, fmt.Sprintf("cd config; f=%s; other=%s\n%s", name, other, g.line))
			if g.fails == "" && (out.code != 0 || out.stderr != "") || g.fails != "" && !strings.Contains(out.stderr, g.fails) {
				t.Errorf("%s: %v", g.line, out)
			}
			if got := read(t, path); got != g.after {
				t.Errorf("the file holds %q, not %q", got, g.after)
			}
			made := versions(t, m, name)[len(seen):]
			want := 0
			if g.after != g.before {
				want = 1
			}
			if len(made) != want {
				t.Errorf("%d versions were made, not %d: %v", len(made), want, made)
			}

			fence := name + "_fence"
			kingpin(t, m, "create", fence)
			succeed(t, m, fmt.Sprintf("cd config; echo end > %[1]s.tmp; mv %[1]s.tmp %[1]s", fence))
			events := 0
			for _, line := range heard.until(t, fence) {
				if line == name {
					events++
				}
			}
			if len(made) == 1 && events != 1 {
				t.Errorf("the directory's watch heard %d times of one version", events)
			}
		})
	}
	var unexpected []string
	for _, e := range strings.Fields(succeed(t, m, "ls -A config")) {
		if !strings.HasPrefix(e, "config.manageddata.gestures.g") && !strings.HasPrefix(e, "config.manageddata.admin.") ||
			strings.HasSuffix(e, ".tmp") {
			unexpected = append(unexpected, e)
		}
	}
	if len(unexpected) > 0 {
		t.Errorf("left behind in config/: %v", unexpected)
	}
}

// versions are those that this monitor published of a name so far, oldest first, by its own record.
func versions(t *testing.T, m *Monitor, name string) []string {
	t.Helper()
	var records []struct{ Name, Result, Version string }
	if err := json.Unmarshal([]byte(read(t, m.Path(".status/publishes.json"))), &records); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range slices.Backward(records) {
		if r.Name == name && r.Result == "ok" {
			all = append(all, r.Version)
		}
	}
	all = slices.Compact(all) // bytes that were there already are a success with the version that has them
	if current := xattr(t, m.Path("config", name), "user.kingpin.version"); len(all) > 0 && all[len(all)-1] != current {
		t.Errorf("the last publish was version %s, and the file shows %s", all[len(all)-1], current)
	}
	return all
}

func xattr(t *testing.T, path, name string) string {
	t.Helper()
	value := make([]byte, 4096)
	n, err := unix.Getxattr(path, name, value)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return string(value[:n])
}

// TestGesturesCompareAndSet: who changes a file in place loses the race against a version made meanwhile, with ESTALE, and
// changes nothing.
func TestGesturesCompareAndSet(t *testing.T) {
	const name = "config.manageddata.gestures.race"
	m := monitor(t)
	kingpin(t, m, "create", name)
	path := m.Path("config", name)
	succeed(t, m, "echo one > config/"+name)

	late, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	succeed(t, m, "echo two > config/"+name)
	if _, err := unix.Pwrite(late, []byte("O"), 0); err != nil {
		t.Errorf("write to the draft: %v", err)
	}
	if err := unix.Close(late); err != unix.ESTALE {
		t.Errorf("close of the one who lost: %v, not ESTALE", err)
	}
	if got := read(t, path); got != "two\n" {
		t.Errorf("the file holds %q", got)
	}
	if why := read(t, m.Path(".error/config", name)); !strings.Contains(why, "refused:") {
		t.Errorf(".error says %q", why)
	}

	// Appending is no race: both lines are there.
	appending, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	succeed(t, m, "echo three >> config/"+name)
	if _, err := unix.Write(appending, []byte("four\n")); err != nil {
		t.Error(err)
	}
	if err := unix.Close(appending); err != nil {
		t.Errorf("close of the one who appends: %v", err)
	}
	if got := read(t, path); got != "two\nthree\nfour\n" {
		t.Errorf("the file holds %q", got)
	}
	if _, err := os.Stat(m.Path(".error/config", name)); !os.IsNotExist(err) {
		t.Errorf("a good write left the error of the one before: %v", err)
	}

	// kingpin put --base is the same in one command.
	base := xattr(t, path, "user.kingpin.version")
	succeed(t, m, "echo five > config/"+name)
	put := result(t, m.Command(t.Context(), "put", name, os.DevNull, "--base", base, "--force"))
	if put.code != 5 {
		t.Errorf("put on an old base: %v", put)
	}
}
