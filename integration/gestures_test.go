package integration

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGesturesMakeOneVersion: one gesture makes exactly one version, never an empty one, never half of one, and none when the
// bytes are what they were or the gesture fails; then it says so. Both machines show what came of it, the watches on their
// directories heard of it once, and S3 holds the versions and nothing else. docs/files.md shows the table that it prints.
func TestGesturesMakeOneVersion(t *testing.T) {
	s := startScene(t)
	played, all := map[string]gesture{}, 0
	took := map[string]time.Duration{}
	var table strings.Builder
	for _, c := range writers {
		fmt.Fprintf(&table, "\n%s\n\n| who | what is done | versions | exit | it says | `.error/` says |\n| --- | --- | --- | --- | --- | --- |\n", c.title)
		for g := range c.all() {
			if g.away && underLoad() {
				continue
			}
			all++
			t.Run(g.who, func(t *testing.T) {
				needProgram(t, g.programs...)
				took[g.name()] = s.play(t, &table, g)
				played[g.name()] = g
			})
		}
	}
	for m, events := range s.fence(t) {
		for name, g := range played {
			g.checkEvents(t, m.Mount, events[name], m == s.a || strings.Contains(g.line, "$fb"), took[name])
		}
	}
	need(t, "all the writers of the table", len(played) == all)
	if underLoad() {
		return // the table is not the whole one
	}
	documented(t, "docs/files.md", "writers", table.String())
}

// checkEvents: a watch on the directory hears of each version once, or of the last of several. On a machine where somebody writes
// it hears of a close, too, that published nothing or failed; and of a version that was there before the close twice, if the program took
// so long to close that nobody was to wait for it.
func (g gesture) checkEvents(t *testing.T, mount string, events int, writes bool, took time.Duration) {
	t.Helper()
	made := g.made()
	if writes && (made != 1 || g.fails != "") || g.gone {
		return
	}
	most := made
	if writes && (g.decider && took > time.Second || g.syncs && took > 200*time.Millisecond) {
		most++
	}
	if events > most || events == 0 && made > 0 {
		t.Errorf("the watch on config/ of %s heard %d times of %q, which made %d versions", mount, events, g.who, made)
	}
}

// all are the gestures of a chapter.
func (c chapter) all() iter.Seq[gesture] {
	return func(yield func(gesture) bool) {
		for _, g := range c.gestures {
			g.decider = c.deciders
			if !yield(g) {
				return
			}
		}
	}
}

// path of what a gesture is made to, in the mount.
func (g gesture) path() string {
	if g.decider {
		return "decider/" + g.name()
	}
	return "config/" + g.name()
}

// holder is the config that gets the versions.
func (g gesture) holder() string {
	if g.decider {
		return deciders
	}
	return g.name()
}

// name of what a gesture is made to.
func (g gesture) name() string {
	word := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		case r == '>':
			return 'o'
		case r == ':':
			return 'c'
		}
		return ' '
	}
	name := strings.Join(strings.Fields(strings.Map(word, g.who)), "_")
	if g.decider {
		return name
	}
	return "config.manageddata.writers." + name
}

// held is what the file of a gesture holds before.
func (g gesture) held() string {
	switch {
	case g.before != "" || g.born:
		return g.before
	case g.decider:
		return "1\n"
	}
	return "one\n"
}

// becomes is what it holds afterwards.
func (g gesture) becomes() string {
	if g.after == "" {
		return g.held()
	}
	return g.after
}

// made is how many versions a gesture makes.
func (g gesture) made() int {
	switch {
	case g.versions > 0:
		return g.versions
	case g.becomes() != g.held(), g.gone:
		return 1
	}
	return 0
}

// play makes a gesture, checks what came of it and adds a row to the table. It returns how long the program ran.
func (s *scene) play(t *testing.T, table io.Writer, g gesture) time.Duration {
	t.Helper()
	name := g.name()
	before := len(s.bodies(t, g.holder()))
	began := time.Now()
	o := s.do(t, g)
	took := time.Since(began)
	if g.away {
		s.comeBack(t)
	}
	switch failed := o.code != 0; {
	case failed != (g.fails != ""), !containsOne(o.stderr, g.fails), !failed && o.stderr != "":
		t.Errorf("%s: %v", g.line, o)
	}
	eventually(t, "both machines show what came of it", func() bool {
		return g.done(s.a) && g.done(s.b)
	})
	if bodies, want := len(s.bodies(t, g.holder()))-before, g.made(); bodies != want && !(g.orphan && bodies == want+1) {
		t.Errorf("%d bodies came to S3, not %d", bodies, want)
	}
	reason := s.plain(s.reason(t), name)
	if g.silent && reason == "" || !containsOne(reason, g.reason) {
		t.Errorf(".error/ says %q, want %q in it", reason, g.reason)
	}
	if g.reason != "" {
		reason = "... " + strings.ReplaceAll(g.reason, "|", " ..., or ... ") + " ..."
	}
	says := code(s.plain(lastLine(o.stderr), name))
	if strings.Contains(g.fails, "|") {
		says = "... " + strings.ReplaceAll(g.fails, "|", ", or ... ")
	}
	shown := g.shown
	if shown == "" {
		shown = g.line
	}
	versions := fmt.Sprint(g.made())
	if g.orphan {
		versions += ", maybe a body in S3 that nobody names"
	}
	fmt.Fprintf(table, "| %s | %s | %s | %d | %s | %s |\n", strings.TrimPrefix(g.who, "decider, "), code(shown), versions, o.code,
		says, reason)
	return took
}

// containsOne says whether a text has one of several words in it, which stand with a | between them.
func containsOne(text, words string) bool {
	for word := range strings.SplitSeq(words, "|") {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// done says whether a machine shows what came of a gesture.
func (g gesture) done(m *Monitor) bool {
	if g.gone {
		_, err := os.Lstat(m.Path(g.path()))
		return errors.Is(err, os.ErrNotExist)
	}
	return m.shows(g.path(), g.becomes())
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
