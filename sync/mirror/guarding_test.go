package mirror

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestEmptyServersetIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		m.has("serverset/"+string(user), "") // nobody has ever been there
		m.isIn(user, Current)

		first := w.join(user, "10.0.0.1:80")
		second := w.join(user, "10.0.0.2:80")
		m.has("serverset/"+string(user), "10.0.0.1:80\n10.0.0.2:80\n")
		first()
		w.passes(9 * time.Second)
		m.has("serverset/"+string(user), "10.0.0.1:80\n10.0.0.2:80\n")
		m.isIn(user, Current)
		w.passes(time.Second)
		m.has("serverset/"+string(user), "10.0.0.2:80\n")
		second()
		w.passes(1000 * time.Hour)
		m.has("serverset/"+string(user), "10.0.0.2:80\n")
		m.isIn(user, Held, "empty, was 1")
		if n := m.Stats().Held; n != 1 {
			t.Errorf("%d held, want 1", n)
		}
		m.said(1, "held", string(user), "do=\"kingpin accept "+string(user)+"\"")
		m.halt()
		m = w.boot("a", follows(web))
		w.passes(time.Hour)
		m.has("serverset/"+string(user), "10.0.0.2:80\n")
		m.isIn(user, Held, "empty, was 1")

		third := w.join(user, "10.0.0.3:80")
		m.has("serverset/"+string(user), "10.0.0.2:80\n10.0.0.3:80\n")
		m.isIn(user, Current)
		w.passes(10 * time.Second)
		m.has("serverset/"+string(user), "10.0.0.3:80\n")
		third()
	})
}

// crowd joins so many endpoints at once, and returns how the first n of them leave at once, and the file of the rest.
func (w *world) crowd(size int) (leave func(n int), file func(from int) string) {
	w.Helper()
	endpoints := make([]registry.Endpoint, size)
	cancels := make([]context.CancelFunc, size)
	var gone sync.WaitGroup
	for i := range size {
		ctx, cancel := context.WithCancel(w.Context())
		endpoints[i], cancels[i] = registry.Endpoint(fmt.Sprintf("10.0.%d.%d:80", i/100, i%100+100)), cancel
		gone.Go(func() {
			if err := w.reg.Join(ctx, user, registry.Member{Endpoint: endpoints[i]}); err != nil {
				w.Errorf("join: %v", err)
			}
		})
	}
	w.Cleanup(gone.Wait)
	synctest.Wait()
	w.passes(time.Second) // they may be too many to be shown at once
	leave = func(n int) {
		for _, cancel := range cancels[:n] {
			cancel()
		}
		cancels = cancels[n:]
		synctest.Wait()
	}
	return leave, func(from int) string { return string(registry.FormatEndpoints(endpoints[from:])) }
}

func TestCollapsedServersetIsHeldForTenMinutes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		leave, file := w.crowd(10)
		m.has("serverset/"+string(user), file(0))
		leave(6)
		w.passes(9 * time.Minute)
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Held, "shrunk to 4, was 10")

		m.halt() // which a restart does not change, except that it waits ten minutes more
		m = w.boot("a", follows(web))
		w.passes(9 * time.Minute)
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Held, "shrunk to 4, was 10")
		w.passes(time.Minute)
		m.has("serverset/"+string(user), file(6))
		m.isIn(user, Current)
		leave(4)
	})
}

// A cut tells nothing about members: what was seen before it is seen again before it counts.
func TestOutageOfTheRegistryDampsAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user, spam)
		m := w.boot("a", follows(web))
		leave, file := w.crowd(4)
		m.has("serverset/"+string(user), file(0))
		leave(1)
		plug := m.wire.unplug()
		m.Refresh() // so that somebody notices
		w.passes(time.Hour)
		m.has("serverset/"+string(user), file(0))
		plug()
		w.passes(4 * time.Second) // until it is noticed
		m.has("serverset/"+string(user), file(0))
		w.passes(2 * time.Minute)
		m.has("serverset/"+string(user), file(1))
		m.isIn(user, Current)
		leave(3)
	})
}

func TestDeletedServersetIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		leave, file := w.crowd(2)
		m.has("serverset/"+string(user), file(0))
		leave(2)
		w.must(w.reg.Delete(w.Context(), user.Pointer()))
		w.passes(time.Hour)
		m.has("serverset/"+string(user), file(0))
		m.isIn(user, Held, "deleted from the registry, was 2")
		m.lists(web, registry.Edge(user))

		w.must(w.reg.Create(w.Context(), user.Pointer()))
		m.isIn(user, Held, "empty, was 2")
		back := w.join(user, "10.9.9.9:80")
		w.passes(10 * time.Second)
		m.has("serverset/"+string(user), "10.9.9.9:80\n")
		m.isIn(user, Current)
		back()
	})
}

func TestGuardMayBeOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		o := follows(web)
		o.Guard = func(name registry.Name) GuardRules { return GuardRules{Off: strings.HasSuffix(string(name), ".prod")} }
		m := w.boot("a", o)
		leave, file := w.crowd(10)
		m.has("serverset/"+string(user), file(0))
		leave(10)
		w.passes(time.Second) // they may not all have been seen to leave at once
		m.has("serverset/"+string(user), "")
		m.isIn(user, Current)
	})
}

// A member that fits no pattern of the old system is one of ours for good (D11).
func TestD11MembersByNameAndIPv6Stay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", Options{Dependencies: []registry.Dependency{web}, Audit: time.Minute})
		const file = "10.0.0.1:80\n[2001:db8::7]:9090\nweb-1.example.com:443\n"
		for _, e := range strings.Fields(file) {
			defer w.join(user, registry.Endpoint(e))()
		}
		m.has("serverset/"+string(user), file)
		before, _ := m.entry("serverset/" + string(user))
		w.passes(time.Hour) // of audits
		m.has("serverset/"+string(user), file)
		if after, _ := m.entry("serverset/" + string(user)); after.Stamp != before.Stamp {
			t.Error("an audit has written the file anew")
		}
	})
}

// Of 1,000 members that come within a second none is missing, and nobody waits for a next change (D1); nor does the file change a
// thousand times.
func TestD1AThousandJoinsInASecondAreAllThere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, user)
		m := w.boot("a", follows(web))
		before := m.Stats().Commits
		var leaves []func()
		for i := range 1000 {
			leaves = append(leaves, w.join(user, registry.Endpoint(fmt.Sprintf("10.0.0.1:%d", 1000+i))))
			w.passes(time.Millisecond)
		}
		w.passes(100 * time.Millisecond)
		m.lines(1000)
		if n := m.Stats().Commits - before; n < 10 || n > 22 {
			t.Errorf("%d versions of 1,000 joins in a second", n)
		}
		for _, leave := range leaves[:400] {
			leave()
		}
		w.passes(10*time.Second + 100*time.Millisecond)
		m.lines(600)
		for _, leave := range leaves[400:] {
			leave()
		}
	})
}

// lines says whether the serverset file has so many.
func (m *machine) lines(want int) {
	m.w.Helper()
	file, _ := m.read("serverset/" + string(user))
	if got := strings.Count(file, "\n"); got != want {
		m.w.Fatalf("the file has %d members, want %d", got, want)
	}
}
