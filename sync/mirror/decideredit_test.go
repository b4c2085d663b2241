package mirror

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/kingpinfs/kingpin/registry"
)

func decide(name string, percent int) Publication {
	return Publication{Name: registry.DeciderName, Decider: name, Percent: percent}
}

// deciderVersion is the version of the file of one decider.
func (m *machine) deciderVersion(name string) registry.Version {
	m.w.Helper()
	e, ok := m.entry("decider/" + name)
	if !ok {
		m.w.Fatalf("no decider %s", name)
	}
	return e.Version
}

func TestOneDeciderIsOneKeyOfTheMap(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, registry.DeciderName)
		w.put(registry.DeciderName, `{"Odd Name": "kept", "b": 7, "c": 1.50}`)
		m := w.boot("a", follows(web))
		p := decide("a", 42)
		p.Origin = 9
		e, err := m.Publish(w.Context(), p)
		w.must(err)
		if e.Kind != registry.Decider || e.Name != "a" || e.Origin != 9 {
			t.Errorf("published %+v", e)
		}
		m.has("config/"+string(registry.DeciderName), `{"Odd Name": "kept", "a": 42, "b": 7, "c": 1.5}`)
		m.has("decider/a", "42\n")
		m.has("decider/b", "7\n")
		if e, _ := m.entry("config/" + string(registry.DeciderName)); e.Origin != 0 || e.Message != "a 42" {
			t.Errorf("the map: %+v", e)
		}
		before := m.published(registry.DeciderName)
		m.publish(decide("a", 42)) // as it is
		if after := m.published(registry.DeciderName); after != before {
			t.Errorf("the same percent again made version %s of %s", after, before)
		}
		m.publish(Publication{Name: registry.DeciderName, Decider: "b", Remove: true})
		m.has("config/"+string(registry.DeciderName), `{"Odd Name": "kept", "a": 42, "c": 1.5}`)
		m.hasNot("decider/b")
		_, err = m.Publish(w.Context(), Publication{Name: registry.DeciderName, Decider: "b", Remove: true})
		w.is(err, registry.ErrNotExist)
	})
}

func (m *machine) published(name registry.Name) registry.Version {
	m.w.Helper()
	state, err := m.w.reg.State(m.w.Context(), name.Pointer())
	m.w.must(err)
	return state.Version
}

// TestWritersOfDifferentDecidersLoseNothing: 8 writers at 2 machines, each with a decider of its own, and one more who removes his.
func TestWritersOfDifferentDecidersLoseNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, registry.DeciderName)
		w.put(registry.DeciderName, `{"kept": 1}`)
		machines := []*machine{w.boot("a", follows(web)), w.boot("b", follows(web))}
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				m, name := machines[i%2], fmt.Sprintf("writer%d", i)
				for percent := range 10 {
					if _, err := m.Publish(w.Context(), decide(name, percent)); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if got, _ := m.entry("decider/" + name); got.SHA256 != registry.Sum(registry.FormatDecider(percent)) {
						t.Errorf("%s is not %d after it was published", name, percent)
					}
				}
			})
		}
		writers.Wait()
		synctest.Wait()
		for _, m := range machines {
			m.has("config/"+string(registry.DeciderName), `{"kept": 1, "writer0": 9, "writer1": 9, "writer2": 9, "writer3": 9, `+
				`"writer4": 9, "writer5": 9, "writer6": 9, "writer7": 9}`)
		}
	})
}

func TestDeciderIsComparedAndSetAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, registry.DeciderName)
		w.put(registry.DeciderName, `{"mine": 1, "other": 1}`)
		m, far := w.boot("a", follows(web)), w.boot("b", follows(web))
		base := m.deciderVersion("mine")
		far.publish(decide("other", 2))
		p := decide("mine", 3)
		p.Base, p.CompareAndSet = base, true
		m.publish(p) // another decider is nobody's conflict
		m.has("decider/mine", "3\n")
		far.publish(decide("mine", 4))
		p = decide("mine", 3)
		p.Base, p.CompareAndSet = m.deciderVersion("mine"), true
		far.publish(decide("mine", 5))
		_, err := m.Publish(w.Context(), p)
		w.is(err, registry.ErrConflict)
		m.has("decider/mine", "5\n")
	})
}

func TestFirstDeciderMakesTheMapWhereWritingCreates(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web)
		m := w.boot("a", follows(web))
		_, err := m.Publish(w.Context(), decide("first", 5))
		w.is(err, registry.ErrNotExist)
		if !strings.Contains(err.Error(), "kingpin create") {
			t.Errorf("refused with %q", err)
		}
		p := decide("first", 5)
		p.Create = true
		m.publish(p)
		m.has("decider/first", "5\n")
		m.has("config/"+string(registry.DeciderName), `{"first": 5}`)
		names, err := m.Names(w.Context())
		w.must(err)
		if !slices.Contains(names, registry.DeciderName) {
			t.Errorf("the names are %v", names)
		}
	})
}

func TestDecidersThatAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, registry.DeciderName)
		w.put(registry.DeciderName, `{"a": 1}`)
		m := w.boot("a", follows(web))
		for _, p := range []Publication{
			decide("a", 101), decide("a", -1), decide("A", 1), decide("../a", 1), {Name: spam, Decider: "a", Percent: 1},
		} {
			_, err := m.Publish(w.Context(), p)
			w.is(err, registry.ErrInvalid)
		}
		w.put(registry.DeciderName, `["no", "map"]`)
		_, err := m.Publish(w.Context(), decide("a", 2)) // whoever broke it may know what was in it
		w.is(err, registry.ErrInvalid)
		m.has("decider/a", "1\n")
		plug := m.wire.unplug()
		defer plug()
		_, err = m.Publish(w.Context(), decide("a", 2))
		w.is(err, registry.ErrUnreachable)
	})
}
