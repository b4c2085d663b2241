package disk

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

const childDir = "KINGPIN_DISK_COMMITS"

// killedChild is what the child of TestAcknowledgedCommitsSurviveKill does until it dies: pairs of files with the same number,
// old versions dropped, a graph that grows and shrinks. It prints a line after each commit that returned.
func killedChild(dir string) error {
	s, err := Open(dir, Options{Keep: 1})
	if err != nil {
		return err
	}
	n := 0
	for _, e := range s.List(registry.Config) {
		n = max(n, int(e.Order))
	}
	for {
		n++
		pair := fmt.Sprintf("config.pair%d", n%3)
		text := wholeBody(n)
		commits := []Commit{
			{File: config(pair + ".left"), Order: registry.Order(n), Body: text},
			{File: config(pair + ".right"), Order: registry.Order(n), Body: text},
		}
		entries, err := s.Commit(commits...)
		if err != nil {
			return err
		}
		edges := []registry.Edge{"config.a", registry.Edge(fmt.Sprintf("config.n%d", n%5))}
		if err := s.SetGraph(map[registry.Dependency][]registry.Edge{"web.dep": edges}); err != nil {
			return err
		}
		g := s.Graph()
		fmt.Println("done", n, uint64(entries[1].Stamp), g.Dirs[0].Links[1].ID)
		s.Announced(entries[0].Stamp, entries[1].Stamp)
		for _, old := range s.Expired() {
			if err := s.Drop(old.Stamp); err != nil {
				return err
			}
		}
	}
}

// wholeBody says its number at both ends and everywhere between. Some are more than the journal carries.
func wholeBody(n int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%d\n", n), 500+n%7*400+n%3*5000))
}

// A process that commits is killed at any moment: what it was told is committed is there, whole, and nothing else is.
func TestAcknowledgedCommitsSurviveKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println("error:", killedChild(dir))
		os.Exit(1)
	}
	dir := scratch(t)
	var stamp, id uint64
	for round := range 12 {
		acknowledged, at, link := killAfter(t, dir, 1+rand.IntN(25))
		if at <= stamp || link < id {
			t.Fatalf("round %d: stamp %d after %d, id %d after %d", round, at, stamp, link, id)
		}
		stamp, id = at, link
		checkPairs(t, dir, acknowledged)
		if t.Failed() {
			return
		}
	}
}

// killAfter lets a child commit until it has said so n times, and kills it. It returns what the child said last.
func killAfter(t *testing.T, dir string, n int) (number int, stamp, id uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestAcknowledgedCommitsSurviveKill$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for said := 0; lines.Scan(); said++ {
		if _, err := fmt.Sscanf(lines.Text(), "done %d %d %d", &number, &stamp, &id); err != nil {
			t.Fatalf("child: %s", lines.Text())
		}
		if said == n {
			cmd.Process.Kill() // and go on reading: it may have said more by then
		}
	}
	_ = cmd.Wait()
	return number, stamp, id
}

func checkPairs(t *testing.T, dir string, acknowledged int) {
	t.Helper()
	s := openAt(t, dir, Options{Keep: 1})
	defer s.Close()
	<-s.repaired
	newest := 0
	for pair := range 3 {
		left, _ := s.Current(config(fmt.Sprintf("config.pair%d.left", pair)))
		right, _ := s.Current(config(fmt.Sprintf("config.pair%d.right", pair)))
		if left.Order != right.Order {
			t.Errorf("pair %d: left is %d and right is %d", pair, left.Order, right.Order)
		}
		newest = max(newest, int(left.Order))
		for _, e := range []Entry{left, right} {
			if e.Stamp == 0 {
				continue // not yet committed
			}
			if want := string(wholeBody(int(e.Order))); body(t, s, e.Stamp) != want || plain(t, s, e.File) != want {
				t.Errorf("%s is not whole", e.File)
			}
		}
	}
	// One more may have been committed before the child could say so.
	if newest != acknowledged && newest != acknowledged+1 {
		t.Errorf("newest is %d, acknowledged was %d", newest, acknowledged)
	}
	checkTidy(t, s)
}
