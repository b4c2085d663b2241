package disk

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

type edges = map[registry.Dependency][]registry.Edge

func setGraph(t *testing.T, s *Store, e edges) Graph {
	t.Helper()
	if err := s.SetGraph(e); err != nil {
		t.Fatal(err)
	}
	return s.Graph()
}

// The kernel holds on to ids: what stays keeps its own over restarts, and what comes gets one that nobody ever had.
func TestGraphIdsStayAndAreNeverReused(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	used := map[uint64]string{}
	for n, e := range []edges{
		{"base.dep": nil, "web.dep": {"discovery.b.prod", "config.a"}},
		{"base.dep": {"web.dep"}, "web.dep": {"config.a"}},
		{"base.dep": {"web.dep"}},
		{"base.dep": {"web.dep"}, "web.dep": {"config.a", "discovery.b.prod", "config.a"}},
		{},
		{"base.dep": nil, "web.dep": {"config.a", "base.dep"}},
	} {
		before := s.Graph()
		g := setGraph(t, s, e)
		for _, d := range g.Dirs {
			old, stays := before.Dir(d.Name)
			checkID(t, used, d.ID, string(d.Name), stays && old.ID == d.ID)
			if stays && old.ID != d.ID {
				t.Errorf("step %d: %s has another id", n, d.Name)
			}
			if dir, link, ok := g.ByID(d.ID); !ok || dir.Name != d.Name || link.ID != 0 {
				t.Errorf("step %d: id %d is %v %v", n, d.ID, dir, link)
			}
			changed := !stays
			for _, l := range d.Links {
				was, stays := old.Link(l.Edge)
				checkID(t, used, l.ID, string(d.Name)+"/"+string(l.Edge), stays && was.ID == l.ID)
				if stays && was != l {
					t.Errorf("step %d: %s/%s was %v and is %v", n, d.Name, l.Edge, was, l)
				}
				if dir, link, ok := g.ByID(l.ID); !ok || dir.Name != d.Name || link != l {
					t.Errorf("step %d: id %d is %v %v", n, l.ID, dir, link)
				}
				changed = changed || !stays
			}
			changed = changed || len(old.Links) > len(d.Links)
			if d.Changed.After(old.Changed) != changed {
				t.Errorf("step %d: %s changed %v: %v, then %v", n, d.Name, changed, old.Changed, d.Changed)
			}
		}
		if n%2 == 1 {
			if err := rewrite(s); err != nil {
				t.Fatal(err)
			}
		}
		s = reopen(t, s, Options{})
		if again := s.Graph(); !reflect.DeepEqual(again, g) {
			t.Errorf("step %d: after a restart\n%+v, was\n%+v", n, again, g)
		}
	}
	if _, _, ok := s.Graph().ByID(1); ok {
		t.Error("id 1 is somebody's")
	}
	if _, ok := s.Graph().Dir("no.dep"); ok {
		t.Error("no.dep is there")
	}
}

// checkID checks that an id is in its range, and new unless it was there before.
func checkID(t *testing.T, used map[uint64]string, id uint64, name string, stays bool) {
	t.Helper()
	if owner, ok := used[id]; id < 4096 || id >= 1<<32 || ok != stays || ok && owner != name {
		t.Errorf("%s has id %d, which was %q", name, id, owner)
	}
	used[id] = name
}

func TestTheSameGraphIsNoChange(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	g := setGraph(t, s, edges{"web.dep": {"config.a", "config.b"}})
	size := s.journal.size
	if again := setGraph(t, s, edges{"web.dep": {"config.b", "config.a", "config.b"}}); !reflect.DeepEqual(again, g) {
		t.Errorf("graph is %+v, was %+v", again, g)
	}
	if s.journal.size != size {
		t.Error("it was written")
	}
}

// A graph that went unannounced because the server died is announced by the next one, which knows what the kernel still has.
func TestAnUnannouncedGraphIsKnownAfterARestart(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	first := setGraph(t, s, edges{"web.dep": {"config.a"}})
	s.GraphAnnounced(first)
	second := setGraph(t, s, edges{"web.dep": {"config.b"}, "new.dep": nil})
	for n := range 3 {
		if got := s.AnnouncedGraph(); !reflect.DeepEqual(got, first) {
			t.Errorf("announced is %+v, not %+v", got, first)
		}
		if got := s.Graph(); !reflect.DeepEqual(got, second) {
			t.Errorf("graph is %+v, not %+v", got, second)
		}
		for changed := range s.Changes(t.Context()) {
			if !changed.Graph {
				t.Error("nobody is told of it")
			}
			break
		}
		if n == 1 {
			if err := rewrite(s); err != nil {
				t.Fatal(err)
			}
		}
		s = reopen(t, s, Options{})
	}
	s.GraphAnnounced(second)
	s = reopen(t, s, Options{})
	for changed := range s.Changes(t.Context()) {
		if changed.Graph {
			t.Error("it is announced twice")
		}
		break
	}
}

func TestIdsRunOutWithAnError(t *testing.T) {
	s := openAt(t, scratch(t), Options{})
	g := setGraph(t, s, edges{"web.dep": {"config.a"}})
	s.index.id = lastID
	if err := s.SetGraph(edges{"web.dep": {"config.a", "config.b", "config.c"}}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("set graph: %v", err)
	}
	if !reflect.DeepEqual(s.Graph(), g) {
		t.Error("the graph changed")
	}
}

// A dependency of ten thousand names that grew one by one must not make the next start slow, nor the journal long.
func TestAGraphThatGrewLinkByLinkOpensQuickly(t *testing.T) {
	s := openAt(t, scratch(t), Options{Logger: quiet})
	var members []registry.Edge
	for n := range 1500 {
		members = append(members, registry.Edge(fmt.Sprintf("config.manageddata.domain.some_rather_long_key_%05d", n)))
		setGraph(t, s, edges{"web.dep": members})
	}
	g := s.Graph()
	began := time.Now()
	s = reopen(t, s, Options{})
	if !reflect.DeepEqual(s.Graph(), g) {
		t.Error("it is another graph")
	}
	if size := s.journal.size; size > 4*minGrowth {
		t.Errorf("journal of %d bytes", size)
	}
	t.Logf("opened in %v, journal of %d bytes", time.Since(began), s.journal.size)
}
