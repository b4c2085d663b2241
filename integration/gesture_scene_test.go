package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	atomic "github.com/google/renameio/v2" // its own name is a constant of the table of imports
)

// scene is where the table of writers is played: two machines of a fleet, and who watches their directories.
type scene struct {
	*fleet
	a, b   *Monitor
	other  string              // a file elsewhere that holds "two\n"
	number string              // and one that holds "42\n"
	heard  map[*Monitor]*watch // of the directory config
	errors map[string]bool     // files of .error/ that were there before
}

// startScene starts the fleet and makes what the gestures are made to.
func startScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{fleet: startFleet(t), heard: map[*Monitor]*watch{}, errors: map[string]bool{}}
	for _, m := range []**Monitor{&s.a, &s.b} {
		o := s.site(t)
		o.Flags = append(o.Flags, "--max-body", "1MiB", "--max-versions-per-minute", "10") // so few that a slow disk makes more in a minute
		*m = startMonitor(t, o)
	}
	s.other, s.number = filepath.Join(s.dir, "other"), filepath.Join(s.dir, "number")
	for path, content := range map[string]string{s.other: "two\n", s.number: "42\n"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kingpin(t, s.a, "create", deciders)
	kingpin(t, s.a, "create", "config.manageddata.writers.fence")
	kingpin(t, s.a, "create", "config.manageddata.writers.probe")
	for _, c := range writers {
		for g := range c.all() {
			if !g.decider {
				kingpin(t, s.a, "create", g.name())
			}
			if g.born {
				continue
			}
			if err := os.WriteFile(s.a.Path(g.path()), []byte(g.held()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range []*Monitor{s.a, s.b} {
		for _, c := range writers {
			for g := range c.all() {
				eventually(t, g.name()+" is there", func() bool { return g.born || m.shows(g.path(), g.held()) })
			}
		}
		s.heard[m] = inotifywait(t, "%f", "close_write", m.Path("config")+"/", m.Path("decider")+"/")
	}
	s.fence(t)
	return s
}

// fence returns when the watches have heard of all that was published so far: how often of which name.
func (s *scene) fence(t *testing.T) map[*Monitor]map[string]int {
	t.Helper()
	const fence = "config.manageddata.writers.fence"
	if err := os.WriteFile(s.a.Path("config", fence), fmt.Appendln(nil, len(s.bodies(t, fence))), 0o644); err != nil {
		t.Fatal(err)
	}
	events := map[*Monitor]map[string]int{}
	for m, heard := range s.heard {
		events[m] = map[string]int{}
		for _, name := range heard.until(t, fence) {
			events[m][name]++
		}
	}
	return events
}

// bodies are those of a config in S3, one an object.
func (s *scene) bodies(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob(s.s3.Object("data/"+strings.ReplaceAll(name, ".", "/")) + "_[0-9]*/*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// do runs the line of a gesture.
func (s *scene) do(t *testing.T, g gesture) outcome {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("testdata/writers")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", g.line)
	cmd.Dir = filepath.Dir(s.a.Path(g.path()))
	cmd.Env = append(s.a.Env(), "LC_ALL=C", "BASH_ENV="+filepath.Join(scripts, "prelude.sh"), "HOME="+s.dir,
		"f="+g.name(), "fb="+s.b.Path(g.path()), "other="+s.other, "number="+s.number, "writers="+scripts, "go="+self)
	// The network goes when the writer says so.
	wishes, answers := pipe(t), pipe(t)
	cmd.ExtraFiles = []*os.File{wishes.write, answers.read}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wish := bufio.NewScanner(wishes.read); wish.Scan(); {
			server, hangs := strings.CutPrefix(wish.Text(), "hanging-")
			s.takeAway(t, server == "zookeeper", server == "s3", hangs)
			fmt.Fprintln(answers.write)
		}
	}()
	o := result(t, cmd)
	wishes.write.Close()
	<-done
	return o
}

// pipeEnds are the two ends of a pipe.
type pipeEnds struct{ read, write *os.File }

func pipe(t *testing.T) pipeEnds {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close() // the second time for some of them
	})
	return pipeEnds{r, w}
}

// comeBack starts the servers that went away, and returns when it can be written again.
func (s *scene) comeBack(t *testing.T) {
	t.Helper()
	s.zk.Kill()
	s.s3.Kill()
	s.bringBack(t, true, true, false)
	for _, m := range []*Monitor{s.a, s.b} {
		eventually(t, "a write succeeds", func() bool {
			return shell(t, m, "kingpin put -q config.manageddata.writers.probe - <<< $RANDOM$RANDOM").code == 0
		})
	}
}

// reason is what .error/ says that it did not say before.
func (s *scene) reason(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(s.a.Path(".error/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, file := range files {
		if s.errors[file] || strings.HasSuffix(file, ".probe") {
			continue
		}
		s.errors[file] = true
		first, rest, _ := strings.Cut(read(t, file), "\n")
		if !strings.Contains(rest, "who:") {
			t.Errorf(".error/ does not say who: %s", rest)
		}
		said = append(said, strings.TrimPrefix(first, "refused: "))
	}
	slices.Sort(said)
	return strings.Join(said, "; ")
}

// libraryRole calls a function of a Go library that writes a file.
func libraryRole(args []string) error {
	function, path, two := args[0], args[1], []byte("two\n")
	if function == "renameio.WriteFile" {
		return atomic.WriteFile(path, two, 0o644)
	}
	return os.WriteFile(path, two, 0o644)
}
