package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAGraphMayHoldCycles(t *testing.T) {
	g := graph{
		"web.dep":  {"base.dep", "config.a", "ads.dep"},
		"ads.dep":  {"web.dep", "config.b"},
		"base.dep": {"config.a", "gone.dep"},
	}
	if got := g.names("web.dep"); !slices.Equal(got, []string{"config.a", "config.b"}) {
		t.Errorf("names: %v", got)
	}
	if got := g.without("web.dep", []string{"ads.dep"}).names("web.dep"); !slices.Equal(got, []string{"config.a"}) {
		t.Errorf("names without ads.dep: %v", got)
	}
	want := [][]string{{"web.dep", "base.dep", "config.a"}, {"web.dep", "config.a"}}
	if got := g.paths([]string{"web.dep"}, "config.a"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("paths: %v", got)
	}
	var out strings.Builder
	g.tree("ads.dep").print(&out, 0)
	const tree = `ads.dep
  web.dep
    base.dep
      config.a
      gone.dep
    config.a
    ads.dep  (a cycle: see above)
  config.b
`
	if out.String() != tree {
		t.Errorf("tree:\n%s", out.String())
	}
}

// TestPathsEnd: dependencies that share dependencies have more paths than anybody would read.
func TestPathsEnd(t *testing.T) {
	g := graph{"d0.dep": nil}
	for i := range 40 {
		next := fmt.Sprintf("d%d.dep", i+1)
		for _, via := range []string{"a", "b", "c"} {
			g[fmt.Sprintf("d%d.dep", i)] = append(g[fmt.Sprintf("d%d.dep", i)], via+next)
			g[via+next] = []string{next}
		}
	}
	g["d40.dep"] = []string{"config.a"}
	if got := len(g.paths([]string{"d0.dep"}, "config.a")); got != maxPaths {
		t.Errorf("%d paths, want %d", got, maxPaths)
	}
}
