package mirror

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// publishes makes one version from the machine.
func (m *machine) publishes(body, message string) registry.Version {
	m.w.Helper()
	m.w.passes(time.Second)
	e, err := m.Publish(m.w.Context(), Publication{Name: spam, Body: []byte(body), Author: "ann@here", Message: message})
	m.w.must(err)
	return e.Version
}

func versionsOf(list []Past) (versions []registry.Version) {
	for _, p := range list {
		versions = append(versions, p.Version)
	}
	return versions
}

func TestHistoryIsWhatWasPublished(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		old := w.put(spam, "of Python\n") // says nothing of itself
		var all []registry.Version
		for i := range 6 {
			all = append([]registry.Version{m.publishes(fmt.Sprint("version ", i, "\n"), fmt.Sprint("because ", i))}, all...)
		}
		all = append(all, old)

		list, err := m.History(w.Context(), spam)
		w.must(err)
		if got := versionsOf(list); !slices.Equal(got, all) {
			t.Fatalf("history %q, want %q", got, all)
		}
		for i, p := range list[:6] {
			if p.Size != int64(len("version 0\n")) || p.Published.IsZero() {
				t.Errorf("listed: %+v", p)
			}
			about, body, err := m.Version(w.Context(), spam, p.Version)
			w.must(err)
			if want := fmt.Sprint("version ", 5-i, "\n"); string(body) != want || about.Author != "ann@here" ||
				about.Message != fmt.Sprint("because ", 5-i) || about.SHA256 != registry.Sum([]byte(want)) {
				t.Errorf("%s: %q, %+v", p.Version, body, about)
			}
			before, err := m.Previous(w.Context(), spam, p.Version)
			if err != nil || before != all[i+1] {
				t.Errorf("before %s came %s, %v, want %s", p.Version, before, err, all[i+1])
			}
		}
		_, err = m.Previous(w.Context(), spam, old)
		w.is(err, registry.ErrNotExist)
		_, _, err = m.Version(w.Context(), spam, "1795296152.1")
		w.is(err, registry.ErrNotExist)
		_, err = m.About(w.Context(), spam, "1795296152.1")
		w.is(err, registry.ErrNotExist)
		_, err = m.History(w.Context(), user)
		w.is(err, registry.ErrInvalid)
	})
}

// A publisher that loses the race leaves its body behind. To go back to what nobody ever saw would be a surprise.
func TestPreviousIsNotAVersionThatLostTheRace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		first := m.publishes("first\n", "")
		w.passes(time.Second)
		orphan := registry.NextVersion(time.Now(), first)
		w.must(w.reg.Put(w.Context(), spam.Pointer().Key(orphan), registry.Body{Data: []byte("lost\n")}))
		second := m.publishes("second\n", "")
		list, err := m.History(w.Context(), spam)
		w.must(err)
		if got, want := versionsOf(list), []registry.Version{second, orphan, first}; !slices.Equal(got, want) {
			t.Errorf("stored are %q, want %q", got, want)
		}
		if before, err := m.Previous(w.Context(), spam, second); err != nil || before != first {
			t.Errorf("before %s came %s, %v, want %s", second, before, err, first)
		}
	})
}

func TestRecentHistoryWithTheNetworkAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		var all []registry.Version
		for i := range 3 {
			all = append([]registry.Version{m.publishes(fmt.Sprint(i), "why")}, all...)
		}
		plug := m.wire.unplug()
		list, err := m.History(w.Context(), spam)
		w.is(err, registry.ErrUnreachable)
		if got := versionsOf(list); !slices.Equal(got, all) {
			t.Errorf("history %q, want %q", got, all)
		}
		if _, body, err := m.Version(w.Context(), spam, all[2]); err != nil || string(body) != "0" {
			t.Errorf("%q, %v", body, err)
		}
		if about, err := m.About(w.Context(), spam, all[1]); err != nil || about.Author != "ann@here" || about.Message != "why" {
			t.Errorf("%+v, %v", about, err)
		}
		if before, err := m.Previous(w.Context(), spam, all[0]); err != nil || before != all[1] {
			t.Errorf("before %s came %s, %v", all[0], before, err)
		}
		_, _, err = m.Version(w.Context(), spam, "1795296152.1")
		w.is(err, registry.ErrUnreachable)
		plug()
	})
}
