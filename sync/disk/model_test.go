package disk

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kingpinfs/kingpin/registry"
)

// model is what the store should be, told as simply as possible.
type model struct {
	text    map[File]string
	order   map[File]registry.Order
	old     map[File][]string // oldest first
	told    map[File]bool
	graph   edges
	damaged map[File]bool
}

// Whatever is done in whatever order, with restarts and rewritten journals between, the store is what the model says.
func TestAnyHistoryOfCallsSurvivesRestarts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(scratch(t), "model")
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Logger: quiet, Keep: 1, sync: time.Hour}
		s := openAt(t, dir, o)
		m := &model{
			text: map[File]string{}, order: map[File]registry.Order{}, old: map[File][]string{}, told: map[File]bool{},
			graph: edges{}, damaged: map[File]bool{},
		}
		files := []File{config("config.a"), config("config.b"), {registry.Decider, "a"}}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				var commits []Commit
				for _, f := range slices.Compact(rapid.SliceOfN(rapid.SampledFrom(files), 1, 3).Draw(rt, "files")) {
					text := rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(rt, "text")
					order := registry.Order(rapid.IntRange(1, 20).Draw(rt, "order"))
					commits = append(commits, Commit{File: f, Version: "1", Order: order, Body: []byte(text)})
					m.commit(f, order, text)
				}
				if _, err := s.Commit(commits...); err != nil {
					rt.Fatal(err)
				}
			},
			"remove": func(rt *rapid.T) {
				f := rapid.SampledFrom(files).Draw(rt, "file")
				if err := s.Remove(f); err != nil {
					rt.Fatal(err)
				}
				m.remove(f)
			},
			"drop": func(rt *rapid.T) {
				for _, e := range s.Expired() {
					if err := s.Drop(e.Stamp); err != nil {
						rt.Fatal(err)
					}
				}
				m.drop(1)
			},
			"announce": func(rt *rapid.T) {
				for _, e := range s.Unannounced() {
					s.Announced(e.Stamp)
				}
				for f := range m.text {
					m.told[f] = true
				}
			},
			"graph": func(rt *rapid.T) {
				m.graph = edges{}
				for _, d := range rapid.SliceOfDistinct(rapid.SampledFrom([]registry.Dependency{"a.dep", "b.dep"}), rapid.ID).Draw(rt, "dirs") {
					m.graph[d] = rapid.SliceOfDistinct(rapid.SampledFrom([]registry.Edge{"config.a", "config.b", "a.dep"}), rapid.ID).Draw(rt, "links")
				}
				if err := s.SetGraph(m.graph); err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "announced") {
					s.GraphAnnounced(s.Graph())
				}
			},
			"spoil": func(rt *rapid.T) {
				f := rapid.SampledFrom(files).Draw(rt, "file")
				e, ok := s.Current(f)
				if !ok || e.Size == 0 {
					return
				}
				if b, err := os.ReadFile(s.dir.body(e.Stamp)); err != nil || string(b) != m.text[f] {
					return // there is none, or it is bad already
				}
				if err := os.Truncate(s.dir.body(e.Stamp), 0); err != nil {
					rt.Fatal(err)
				}
				if _, err := s.OpenBody(e.Stamp); !isErr(err, registry.ErrChecksum) {
					rt.Fatal(err)
				}
				m.spoil(f)
			},
			"reopen": func(rt *rapid.T) {
				before := s.index.checkpoint()
				s = reopen(t, s, o)
				if after := s.index.checkpoint(); len(before) != len(after) {
					rt.Fatalf("a checkpoint would have %d bytes instead of %d", len(after), len(before))
				}
			},
			"power cut": func(rt *rapid.T) {
				s.writing.Lock()
				carried := slices.Sorted(maps.Keys(s.unsynced.stamps))
				s.writing.Unlock()
				bodies := map[Stamp][]byte{}
				for _, stamp := range carried {
					if v := s.index.versions[stamp]; v != nil && !v.lost {
						bodies[stamp], _ = os.ReadFile(s.dir.body(stamp))
					}
				}
				s.Close()
				for stamp, b := range bodies {
					way := rapid.SampledFrom(slices.Sorted(maps.Keys(cuts))).Draw(rt, "left of it")
					if err := cuts[way](s.dir.body(stamp), b, stamp); err != nil {
						rt.Fatal(err)
					}
				}
				s = openAt(t, dir, o)
			},
			"rewrite": func(rt *rapid.T) {
				if err := rewrite(s); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				if got, want := m.of(t, s), m.String(); got != want {
					rt.Fatalf("store: %s\nmodel: %s", got, want)
				}
			},
		})
		<-s.repaired
		checkTidyButQuarantine(t, s)
		s.Close()
		if err := os.RemoveAll(dir); err != nil {
			rt.Fatal(err)
		}
	})
}

func checkTidyButQuarantine(t *testing.T, s *Store) {
	t.Helper()
	bad, _ := os.ReadDir(s.dir.path("quarantine"))
	for _, e := range bad {
		if err := os.Remove(s.dir.path("quarantine", e.Name())); err != nil {
			t.Error(err)
		}
	}
	have := 0
	for _, v := range s.index.versions {
		if !v.lost {
			have++
		}
	}
	bodies, err := os.ReadDir(s.dir.bodies())
	if err != nil || len(bodies) != have {
		t.Errorf("%d bodies for %d versions: %v", len(bodies), have, err)
	}
}

// lost stands for a current version without a body.
const lost = "\x00lost"

func (m *model) commit(f File, order registry.Order, text string) {
	now, there := m.text[f]
	switch {
	case there && now == lost:
	case there && order < m.order[f]:
		return
	case there && now == text:
		m.order[f] = order
		delete(m.damaged, f)
		return
	case there:
		m.old[f] = append(m.old[f], now)
	}
	m.text[f], m.order[f] = text, order
	m.told[f] = false
	delete(m.damaged, f)
}

func (m *model) remove(f File) {
	if text, ok := m.text[f]; ok && text != lost {
		m.old[f] = append(m.old[f], text)
	}
	delete(m.text, f)
	delete(m.order, f)
	delete(m.told, f)
	delete(m.damaged, f)
}

func (m *model) drop(keep int) {
	for f, old := range m.old {
		if _, ok := m.text[f]; !ok {
			delete(m.old, f)
		} else if len(old) > keep {
			m.old[f] = old[len(old)-keep:]
		}
	}
}

func (m *model) spoil(f File) {
	m.damaged[f] = true
	old := m.old[f]
	if len(old) == 0 {
		m.text[f] = lost
		return
	}
	m.text[f], m.order[f], m.told[f] = old[len(old)-1], 0, false
}

// String is the model in words.
func (m *model) String() string {
	text := ""
	for _, f := range slices.SortedFunc(maps.Keys(m.text), compareFiles) {
		text += fmt.Sprintf("%s=%q at %d told %v damaged %v; ", f, m.text[f], m.order[f], m.told[f], m.damaged[f])
	}
	for _, f := range slices.SortedFunc(maps.Keys(m.old), compareFiles) {
		if len(m.old[f]) > 0 {
			text += fmt.Sprintf("old %s=%q; ", f, m.old[f])
		}
	}
	for _, d := range slices.Sorted(maps.Keys(m.graph)) {
		text += fmt.Sprint(d, slices.Sorted(slices.Values(m.graph[d])))
	}
	return text
}

// of is a store in the same words.
func (m *model) of(t *testing.T, s *Store) string {
	is := &model{
		text: map[File]string{}, order: map[File]registry.Order{}, old: map[File][]string{}, told: map[File]bool{},
		graph: edges{}, damaged: map[File]bool{},
	}
	for _, kind := range kinds {
		for _, e := range s.List(kind) {
			is.text[e.File], is.order[e.File], is.told[e.File] = lost, e.Order, true
			if file, err := s.OpenBody(e.Stamp); err == nil {
				file.Close()
				is.text[e.File] = body(t, s, e.Stamp)
			}
		}
	}
	for _, e := range s.Superseded() {
		is.old[e.File] = append(is.old[e.File], body(t, s, e.Stamp))
	}
	for _, e := range s.Unannounced() {
		is.told[e.File] = false
	}
	for _, f := range s.Damaged() {
		is.damaged[f] = true
	}
	for _, d := range s.Graph().Dirs {
		is.graph[d.Name] = nil
		for _, l := range d.Links {
			is.graph[d.Name] = append(is.graph[d.Name], l.Edge)
		}
	}
	return is.String()
}
