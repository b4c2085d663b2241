package thriftclient_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// tree is a mount that is a plain directory.
type tree string

func (d tree) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(string(d), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const serverset = "serverset/discovery.user.test"

// lines is a serverset of hosts that nobody has to connect to.
func lines(from, to int) string {
	var s strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&s, "127.0.0.%d:1\n", i)
	}
	return s.String()
}

func openTree(t *testing.T, d tree, o thriftclient.Options) *thriftclient.Pool {
	t.Helper()
	o.Dir, o.Warm = string(d), -1
	p, err := thriftclient.Open("discovery.user.test", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}

// has waits until the pool has n hosts.
func has(t *testing.T, p *thriftclient.Pool, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " hosts"), func() bool { return len(p.Hosts()) == n })
}

// keeps sees to it that the pool has n hosts for a while.
func keeps(t *testing.T, p *thriftclient.Pool, n int, why string) {
	t.Helper()
	for range 20 {
		<-time.After(10 * time.Millisecond)
		if got := len(p.Hosts()); got != n {
			t.Fatalf("%d hosts after %s, want %d still", got, why, n)
		}
	}
}

func TestTheFileIsFollowed(t *testing.T) {
	d := tree(t.TempDir())
	p := openTree(t, d, thriftclient.Options{})
	d.write(t, serverset, lines(1, 3)) // the file, and its directory, come later
	has(t, p, 2)
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	d.write(t, serverset, lines(1, 9))
	has(t, p, 8)
	d.write(t, serverset, lines(1, 5))
	has(t, p, 4) // a half may go at a time
}

func TestAPathIsAsGoodAsAName(t *testing.T) {
	s := serve(t, storm.Options{})
	file := filepath.Join(t.TempDir(), "any name")
	if err := os.WriteFile(file, []byte(s.Addr()), 0o644); err != nil { // without a newline, as the old monitor wrote it
		t.Fatal(err)
	}
	p, err := thriftclient.Open(file, thriftclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	mustEcho(t, p) // the first call waits for the first look at the file
}

func TestATestIsADirectoryWithAFileInIt(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, "discovery.user.test", lines(1, 4))
	p := openTree(t, d, thriftclient.Options{})
	has(t, p, 3)
	d.write(t, "discovery.user.test", lines(1, 6))
	has(t, p, 5)
	d.write(t, serverset, lines(1, 8)) // what a mount has comes first
	has(t, p, 7)
}

func TestTheMountIsFoundByTheEnvironment(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 4))
	t.Setenv("KINGPIN_MOUNT", string(d))
	has(t, openTree(t, "", thriftclient.Options{}), 3)
}

func TestAnEmptyBrokenOrMissingFileChangesNothing(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 4))
	p := openTree(t, d, thriftclient.Options{})
	has(t, p, 3)
	for why, content := range map[string]string{"an empty file": "", "blank lines": "\n\n", "half a line": "10.0.0.1:80\n10.0.", "a page of HTML": "<html>"} {
		d.write(t, serverset, content)
		keeps(t, p, 3, why)
	}
	if err := os.Remove(filepath.Join(string(d), serverset)); err != nil {
		t.Fatal(err)
	}
	keeps(t, p, 3, "the file is gone")
	d.write(t, serverset, lines(1, 3))
	has(t, p, 2)
}

func TestACollapsedFileIsHeld(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 11))
	p := openTree(t, d, thriftclient.Options{})
	has(t, p, 10)
	d.write(t, serverset, lines(1, 5))
	keeps(t, p, 10, "six of ten have gone")
	d.write(t, serverset, lines(1, 6))
	has(t, p, 5)
}

func TestACollapsedFileIsBelievedAfterAWhile(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 11))
	p := openTree(t, d, thriftclient.Options{Hold: 50 * time.Millisecond})
	has(t, p, 10)
	d.write(t, serverset, lines(1, 2))
	has(t, p, 1)
}

func TestWeightsAreThoseOfTheRegistrations(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 4))
	d.write(t, ".members/discovery.user.test", `[
		{"endpoint": "127.0.0.1:1", "weight": 30, "labels": {}, "state": "serving"},
		{"endpoint": "127.0.0.2:1", "weight": 10}, {"endpoint": "127.0.0.3:1", "weight": 0}]`)
	p := openTree(t, d, thriftclient.Options{})
	eventually(t, "the weights", func() bool {
		h := p.Hosts()
		// Who says nothing is the mean of the others: 30, 10 and 20.
		return len(h) == 3 && h[0].Weight == 1.5 && h[1].Weight == 0.5 && h[2].Weight == 1
	})
	d.write(t, ".members/discovery.user.test", `[{"endpoint": "127.0.0.1:1", "weight": 10}, {"endpoint": "127.0.0.2:1", "weight": 30}]`)
	eventually(t, "the new weights", func() bool { return p.Hosts()[1].Weight == 1.5 })
	d.write(t, ".members/discovery.user.test", `{"not": "a list"}`)
	d.write(t, serverset, lines(1, 3))
	has(t, p, 2)
	if h := p.Hosts(); h[1].Weight != 1.5 {
		t.Errorf("weights that cannot be read have replaced good ones: %+v", h)
	}
}

func TestASubsetIsUsed(t *testing.T) {
	d := tree(t.TempDir())
	d.write(t, serverset, lines(1, 101))
	a := openTree(t, d, thriftclient.Options{Subset: 20, ClientID: "a"})
	again := openTree(t, d, thriftclient.Options{Subset: 20, ClientID: "a"})
	b := openTree(t, d, thriftclient.Options{Subset: 20, ClientID: "b"})
	has(t, a, 20)
	has(t, again, 20)
	has(t, b, 20)
	differ := func(p, q *thriftclient.Pool) (n int) {
		for i, h := range p.Hosts() {
			if h.Endpoint != q.Hosts()[i].Endpoint {
				n++
			}
		}
		return n
	}
	if differ(a, again) != 0 || differ(a, b) == 0 {
		t.Errorf("one client differs from itself in %d places, from another one in %d", differ(a, again), differ(a, b))
	}
}
