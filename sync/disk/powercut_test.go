package disk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// image is a file system in a file. What was written and not made durable is in the kernel's memory and not in the file: a copy of
// the file is what a power cut would leave.
type image struct{ path, mount string }

// newImage makes a small ext4 and mounts it for the test.
func newImage(t *testing.T) image {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "needs root to mount a file system in a file")
	}
	i := image{filepath.Join(scratch(t), "image"), t.TempDir()}
	if err := os.WriteFile(i.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(i.path, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", i.path).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no ext4 can be made: %v %s", err, out))
	}
	i.attach(t)
	return i
}

// attach mounts the image until the test ends, or detach.
func (i image) attach(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", i.path, i.mount).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("a file cannot be mounted: %v %s", err, out))
	}
	t.Cleanup(func() { _ = unix.Unmount(i.mount, 0) })
}

func (i image) detach(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(i.mount, 0); err != nil {
		t.Fatal(err)
	}
}

// cut returns the state of the store in the image as it would be after a power cut now.
func (i image) cut(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(i.path)
	if err != nil {
		t.Fatal(err)
	}
	after := image{i.path + ".cut", t.TempDir()}
	if err := os.WriteFile(after.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	after.attach(t)
	defer after.detach(t)
	s := openAt(t, filepath.Join(after.mount, "state"), Options{Logger: quiet})
	defer s.Close()
	<-s.repaired
	checkTidy(t, s)
	return state(t, s)
}

// The power is cut at each step of each write: what was acknowledged is there, and nothing is there by halves.
func TestAPowerCutAtAnyStepLosesNothingAcknowledged(t *testing.T) {
	i := newImage(t)
	var at func(step)
	s := openAt(t, filepath.Join(i.mount, "state"), Options{sync: time.Hour, step: func(now step) {
		if at != nil {
			at(now)
		}
	}})
	<-s.repaired
	a, b := config("config.a"), config("config.b")
	large := bytes.Repeat([]byte("large"), smallBody)
	var many, manyLarger []Commit
	for n := range fewBodies + 1 {
		many = append(many, Commit{File: config(fmt.Sprint("config.n", n)), Order: 1, Body: fmt.Append(nil, n)})
	}
	for n := range smallBatch/smallBody + 1 { // together more than a record carries
		manyLarger = append(manyLarger, Commit{File: config(fmt.Sprint("config.n", n)), Order: 2, Body: large[:smallBody]})
	}
	before := i.cut(t)
	write := func(commits ...Commit) func() error {
		return func() error { _, err := s.Commit(commits...); return err }
	}
	for _, w := range []struct {
		do      func() error
		durable bool
	}{
		{write(Commit{File: a, Order: 1, Body: []byte("a1")}), true},
		{write(Commit{File: a, Order: 2, Body: []byte("a2")}, Commit{File: b, Order: 1, Body: []byte("b1")}), true},
		{write(many...), true},
		{write(Commit{File: config("config.large"), Order: 1, Body: large}, Commit{File: b, Order: 2, Body: []byte("b2")}), true},
		{write(manyLarger...), true},
		{func() error { return s.SetGraph(edges{"web.dep": {registry.Edge(a.Name)}}) }, true},
		{func() error { return s.Remove(a) }, true},
		{write(Commit{File: config("config.new"), Order: 3, Body: []byte("a name that ext4 takes its time for")}), true},
		{func() error { return rewrite(s) }, true},
		{func() error { return s.Drop(s.Expired()[0].Stamp) }, false}, // if it is forgotten, it expires again
	} {
		states := map[step]string{}
		at = func(now step) { states[now] = i.cut(t) }
		if err := w.do(); err != nil {
			t.Fatal(err)
		}
		at = nil
		after := state(t, s)
		for now, got := range states {
			if got != after && (got != before || w.durable && committedBefore(now)) {
				t.Errorf("cut at %q:\n  %s\nold %s\nnew %s", now, got, before, after)
			}
		}
		if len(states) == 0 {
			t.Error("no step was cut at")
		}
		before = after
	}
	if before == "" {
		t.Error("nothing was written")
	}
	s.Close()
}
