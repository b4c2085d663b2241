package mirror

import (
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// deleteAll is what zkCli's deleteall does to a dependency, and Python's recursive delete: its members first, one by one.
func (w *world) deleteAll(dep registry.Dependency, pause time.Duration, edges ...registry.Edge) {
	w.Helper()
	for _, edge := range edges {
		w.must(w.reg.Unlink(w.Context(), dep, edge))
		w.passes(pause)
	}
	w.must(w.reg.DeleteDependency(w.Context(), dep))
}

// A dependency that is deleted, as ZooKeeper can, unsubscribes nobody.
func TestDeletedDependencyUnsubscribesNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		w.put(spam, "casino")
		w.put(ham, "friends")
		m := w.boot("a", follows(web))
		w.deleteAll(web, 10*time.Second, registry.Edge(spam), registry.Edge(ham))
		w.passes(100 * time.Hour)
		m.has("config/"+string(spam), "casino")
		m.has("config/"+string(ham), "friends")
		m.lists(web, registry.Edge(ham), registry.Edge(spam))
		if s := m.Stats(); s.HeldBy[Deleted] != 1 {
			t.Errorf("%d held because they were deleted, want the dependency", s.HeldBy[Deleted])
		}

		m.halt()
		m = w.boot("a", follows(web))
		w.passes(time.Hour)
		m.has("config/"+string(spam), "casino")

		w.must(w.reg.CreateDependency(w.Context(), web))
		w.must(w.reg.Link(w.Context(), web, registry.Edge(spam)))
		w.passes(time.Hour)
		m.has("config/"+string(spam), "casino")
		m.hasNot("config/" + string(ham))
	})
}

// Who makes it again, on a machine that followed it, has it as it was, with what was deleted below it.
func TestDeletedDependencyIsMadeAgainWithItsMembers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(api, spam)
		w.make(web, ham)
		w.must(w.reg.Link(w.Context(), web, registry.Edge(api)))
		w.put(spam, "casino")
		m, other := w.boot("a", follows(web)), w.boot("b", follows(web))
		w.deleteAll(web, time.Second, registry.Edge(ham), registry.Edge(api))
		w.deleteAll(api, time.Second, registry.Edge(spam))
		w.must(m.CreateDependency(w.Context(), web))
		w.passes(100 * time.Hour)
		for _, m := range []*machine{m, other} {
			m.lists(web, registry.Edge(api), registry.Edge(ham))
			m.lists(api, registry.Edge(spam))
			m.has("config/"+string(spam), "casino")
			if deleted := m.Deleted(); len(deleted) > 0 {
				t.Errorf("%v are deleted still", deleted)
			}
		}
	})
}

// Nor does the deletion of all of them, in whatever order.
func TestAllDependenciesDeletedUnsubscribesNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, order := range [][]registry.Dependency{{web, api}, {api, web}} {
			w.make(api, spam)
			w.make(web, ham)
			w.must(w.reg.Link(w.Context(), web, registry.Edge(api)))
			w.put(spam, "casino")
			m := w.boot("of "+string(order[0]), follows(web))
			members := map[registry.Dependency][]registry.Edge{web: {registry.Edge(ham), registry.Edge(api)}, api: {registry.Edge(spam)}}
			for _, dep := range order {
				w.deleteAll(dep, time.Second, members[dep]...)
			}
			w.passes(100 * time.Hour)
			m.has("config/"+string(spam), "casino")
			m.has("config/"+string(ham), "")
		}
	})
}

// What was taken out long before was meant.
func TestMemberTakenOutBeforeTheDependencyWasDeletedStaysOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham)
		m := w.boot("a", follows(web))
		w.must(w.reg.Unlink(w.Context(), web, registry.Edge(spam)))
		w.passes(2 * time.Minute)
		w.deleteAll(web, time.Second, registry.Edge(ham))
		w.passes(time.Hour)
		m.hasNot("config/" + string(spam))
		m.has("config/"+string(ham), "")
	})
}
