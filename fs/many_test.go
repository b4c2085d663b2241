package fs

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestManyNamesComeOnce: many files and links come at once, while somebody looks for the files all the time. Each coming is one event.
func TestManyNamesComeOnce(t *testing.T) {
	m := start(t)
	const count = 100
	m.order("/graph?dep=web.dep", "")
	files := m.watchFor(filepath.Dir(m.config()), "create,close_write", "%e %f")
	links := m.watchFor(m.path("web.dep"), "create", "%e %f")
	name := func(i int) string { return fmt.Sprintf("config.manageddata.test.many%d", i) }
	looked := 0
	stop := m.looks(func() string { looked++; return name(looked % count) })
	var publishing sync.WaitGroup
	var edges []string
	errs := make([]error, count)
	for i := range count {
		edges = append(edges, name(i))
		publishing.Go(func() { errs[i] = m.tryOrder("/publish?kind=config&name="+name(i), "new\n") })
	}
	m.order("/graph?dep=web.dep", strings.Join(edges, " "))
	publishing.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	want := map[string]bool{}
	for i := range count {
		want["CREATE "+name(i)], want["CLOSE_WRITE,CLOSE "+name(i)] = true, true
	}
	for _, w := range []*watcher{files, links} {
		for len(want) > 0 {
			line := w.next()
			if !want[line] {
				t.Fatalf("%q came twice, or never should have", line)
			}
			delete(want, line)
		}
		for i := range count {
			want["CREATE "+name(i)] = true
		}
	}
	stop()
	m.announced()
	files.quiet("all of them")
	links.quiet("all of them")
}
