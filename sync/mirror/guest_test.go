package mirror

import (
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

func (m *machine) showsNot(dep registry.Dependency) {
	m.w.Helper()
	m.w.passes(0)
	if _, ok := m.disk.Graph().Dir(dep); ok {
		m.w.Fatalf("%s is shown", dep)
	}
}

func TestWhatIsMadeHereIsShownAndNotFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "spam")
		m, other := w.boot("a", follows(web)), w.boot("b", follows(web))
		w.must(m.MakeDependency(w.Context(), api))
		m.lists(api)
		other.showsNot(api)
		w.must(m.Ready())

		w.make("third.dep", ham) // somebody else's
		w.put(ham, "ham")
		w.must(m.Subscribe(w.Context(), api, registry.Edge(ham)))
		m.lists(api, registry.Edge(ham))
		m.hasNot("config/" + string(ham))
		m.halt()
		m = w.boot("a", follows(web))
		m.lists(api, registry.Edge(ham))
		m.hasNot("config/" + string(ham))
		w.must(m.Ready())

		w.must(m.Subscribe(w.Context(), web, registry.Edge(api)))
		m.has("config/"+string(ham), "ham")
		other.has("config/"+string(ham), "ham")
		w.must(m.Unsubscribe(w.Context(), web, registry.Edge(api)))
		w.passes(m.o.Grace * 2)
		m.lists(api, registry.Edge(ham))
		m.hasNot("config/" + string(ham))
		other.showsNot(api)

		w.is(m.DeleteDependency(w.Context(), api), registry.ErrNotEmpty)
		w.must(m.Unsubscribe(w.Context(), api, registry.Edge(ham)))
		w.must(m.DeleteDependency(w.Context(), api))
		m.showsNot(api)
		w.is(m.DeleteDependency(w.Context(), registry.BaseDependency), registry.ErrInvalid)
	})
}

func TestWhatExistsElsewhereIsShownToWhoWantsToMakeIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, ham)
		m := w.boot("a", follows(web))
		m.showsNot(api)
		w.is(m.MakeDependency(w.Context(), api), registry.ErrExist)
		m.lists(api, registry.Edge(ham))
		w.must(w.reg.Unlink(w.Context(), api, registry.Edge(ham)))
		w.must(w.reg.DeleteDependency(w.Context(), api)) // by somebody else
		m.showsNot(api)
		m.halt()
		m = w.boot("a", follows(web))
		m.showsNot(api)
	})
}
