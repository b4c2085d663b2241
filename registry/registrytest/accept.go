package registrytest

import (
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var acceptTests = map[string]func(t *testing.T, a, b Registry){
	"what is accepted is heard everywhere":          testAcceptLife,
	"an acceptance replaces the one before":         testAcceptAgain,
	"the last word on a serverset may be to end it": testAcceptEnd,
	"acceptances that are long over go":             testAcceptObsolete,
	"an acceptance is no name and no serverset":     testAcceptApart,
	"acceptances of what cannot be accepted":        testAcceptInvalid,
}

// accepted follows all acceptances.
func accepted(t *testing.T, r Registry) *follower[registry.Acceptances] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.Acceptances, error] { return r.Acceptances(ctx) },
		func(a registry.Acceptances) present { return present{true, a.Order} })
}

func acceptance(n registry.Name, lasts time.Duration) registry.Acceptance {
	now := time.Now().UTC().Truncate(time.Second)
	return registry.Acceptance{Name: n, Until: now.Add(lasts), By: "ann@laptop", At: now}
}

// onlyAccepted says what is expected.
func onlyAccepted(want ...registry.Acceptance) func(registry.Acceptances) bool {
	return func(a registry.Acceptances) bool { return slices.Equal(a.List, want) }
}

func testAcceptLife(t *testing.T, a, b Registry) {
	here, there := accepted(t, a), accepted(t, b)
	here.until(t, "that nothing is accepted", onlyAccepted())
	there.until(t, "that nothing is accepted", onlyAccepted())
	first := acceptance(users, time.Hour)
	must(t, a.PutAcceptance(t.Context(), first))
	here.until(t, "the acceptance", onlyAccepted(first))
	there.until(t, "the acceptance", onlyAccepted(first))
	other := acceptance("discovery.adverts.prod", time.Minute)
	must(t, b.PutAcceptance(t.Context(), other))
	here.until(t, "both", onlyAccepted(other, first))
	accepted(t, b).until(t, "both, for who comes later", onlyAccepted(other, first))
}

func testAcceptAgain(t *testing.T, a, b Registry) {
	feed := accepted(t, b)
	for i := range 5 {
		next := acceptance(users, time.Duration(5-i)*time.Hour)
		must(t, []Registry{a, b}[i%2].PutAcceptance(t.Context(), next))
		feed.until(t, "the next acceptance alone", onlyAccepted(next))
	}
	same := acceptance(users, time.Minute)
	must(t, a.PutAcceptance(t.Context(), same))
	must(t, b.PutAcceptance(t.Context(), same))
	feed.until(t, "what was said twice, once", onlyAccepted(same))
}

func testAcceptEnd(t *testing.T, a, b Registry) {
	feed := accepted(t, b)
	must(t, a.PutAcceptance(t.Context(), acceptance(users, 0))) // there is none to end
	stays := acceptance("discovery.adverts.prod", time.Hour)
	must(t, a.PutAcceptance(t.Context(), stays))
	must(t, a.PutAcceptance(t.Context(), acceptance(users, time.Hour)))
	feed.until(t, "two acceptances", func(all registry.Acceptances) bool { return len(all.List) == 2 })
	must(t, b.PutAcceptance(t.Context(), acceptance(users, 0)))
	feed.until(t, "the other one alone", onlyAccepted(stays))
}

func testAcceptObsolete(t *testing.T, a, b Registry) {
	old := registry.Acceptance{Name: "discovery.adverts.prod", By: "bob@desk", At: time.Unix(1795296152, 0).UTC()}
	old.Until = old.At.Add(time.Hour)
	for time.Since(old.Until) < 48*time.Hour { // by a clock that is behind
		old.At, old.Until = old.At.Add(-1000*time.Hour), old.Until.Add(-1000*time.Hour)
	}
	must(t, a.PutAcceptance(t.Context(), old))
	feed := accepted(t, b)
	feed.until(t, "what nobody has removed yet", onlyAccepted(old))
	fresh := acceptance(users, time.Hour)
	must(t, b.PutAcceptance(t.Context(), fresh))
	feed.until(t, "the fresh one alone", onlyAccepted(fresh))
}

func testAcceptApart(t *testing.T, a, b Registry) {
	register(t, a, b, users)
	create(t, a, b, users.Pointer())
	pointer := watch(t, b, users.Pointer())
	before := pointer.next(t)
	must(t, a.PutAcceptance(t.Context(), acceptance(users, time.Hour)))
	accepted(t, b).until(t, "the acceptance", func(all registry.Acceptances) bool { return len(all.List) == 1 })
	names, err := b.Names(t.Context())
	must(t, err)
	if !slices.Equal(names, []registry.Name{users}) {
		t.Errorf("the names are %v", names)
	}
	if m := members(t, b, users).next(t); !m.Exists || len(m.Members) != 0 {
		t.Errorf("the serverset is %+v", m)
	}
	want := advance(t, a, users.Pointer(), "", v1)
	if got := pointer.next(t); got != want {
		t.Errorf("after %+v the pointer's feed yields %+v, want %+v", before, got, want)
	}
}

func testAcceptInvalid(t *testing.T, a, _ Registry) {
	for _, n := range []registry.Name{"", "discovery", blacklist, "web.dep", "discovery.user.prod/../x"} {
		refused(t, a.PutAcceptance(t.Context(), acceptance(n, time.Hour)), registry.ErrInvalid, "accept "+string(n))
	}
	refused(t, a.PutAcceptance(t.Context(), acceptance(users, 1000*time.Hour)), registry.ErrInvalid, "accept for ever")
	if all := accepted(t, a).next(t); len(all.List) != 0 {
		t.Errorf("what was refused is there: %+v", all)
	}
}
