package mirror

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// waits publishes a metaconfig that has the fleet spread its fetches over so long.
func (w *world) waits(name registry.Name, over time.Duration) {
	w.Helper()
	m := registry.NewMetaconfig(name)
	m[0].MaxWait = over
	data, err := m.Format()
	w.must(err)
	w.publishMetaconfig(name, string(data))
}

// fetchedAt is how long after now a machine has the content.
func (m *machine) fetchedAt(content string) time.Duration {
	m.w.Helper()
	began := time.Now()
	for {
		if got, ok := m.read("config/" + string(spam)); ok && got == content {
			return time.Since(began)
		}
		if time.Since(began) > 48*time.Hour {
			m.w.Fatalf("%q never came", content)
		}
		m.w.passes(time.Second)
	}
}

// A config that a thousand machines would fetch in one second is fetched by each at a moment of its own.
func TestMachinesSpreadTheFetchesOfAConfigThatSaysSo(t *testing.T) {
	inWorld(t, func(w *world) {
		const over = 10 * time.Minute
		w.make(web, spam)
		w.waits(spam, over)
		w.put(spam, "first")
		var machines []*machine
		for i := range 8 {
			m := w.boot(fmt.Sprint("m", i), follows(web))
			m.has("config/"+string(spam), "first") // what was never here is not waited for
			machines = append(machines, m)
		}
		w.put(spam, "second")
		w.passes(time.Millisecond)
		machines[0].isIn(spam, Stale, "max_wait_in_secs", "600")
		if s := machines[0].Stats(); s.Behind != 0 || s.Stale != 1 {
			t.Errorf("what waits as it was asked to alarms somebody: %+v", s)
		}
		var latest time.Duration
		for _, m := range machines {
			latest = max(latest, m.fetchedAt("second"))
		}
		w.passes(over)
		for _, m := range machines {
			m.has("config/"+string(spam), "second")
			m.isIn(spam, Current)
		}
		if latest > over+2*time.Second {
			t.Errorf("the last one came after %s", latest)
		}
	})
}

// During the wait there is one version after the other: only the last is fetched, and when the first would have been.
func TestTheNewestVersionWinsAfterTheWait(t *testing.T) {
	inWorld(t, func(w *world) {
		const over = 10 * time.Minute
		w.make(web, spam)
		w.waits(spam, over)
		w.put(spam, "first")
		m := w.boot("a", follows(web))
		m.has("config/"+string(spam), "first")
		w.put(spam, "version 0")
		w.passes(time.Millisecond)
		began, due := time.Now(), m.queueDue(spam)
		for n := range 5 {
			w.put(spam, fmt.Sprint("version ", n+1))
			w.passes(time.Millisecond)
			if again := m.queueDue(spam); !again.IsZero() && again.Sub(due).Abs() > time.Second {
				t.Errorf("version %d has put the fetch off from %s to %s", n+1, due.Sub(began), again.Sub(began))
			}
		}
		fetches := m.Stats().Fetches
		w.passes(over)
		m.has("config/"+string(spam), "version 5")
		if n := m.Stats().Fetches - fetches; n != 1 {
			t.Errorf("%d bodies were fetched", n)
		}
		w.put(spam, "after")
		w.passes(time.Millisecond)
		if m.queueDue(spam).IsZero() {
			t.Error("the next version does not wait")
		}
	})
}

func (m *machine) queueDue(name registry.Name) time.Time {
	s, _ := m.Status(name)
	return s.Retry
}

// Who publishes has it at once, and so has who asks for it; a machine that is stopped does not wait for the end of a wait.
func TestWhoPublishesOrAsksDoesNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.waits(spam, 24*time.Hour)
		w.put(spam, "first")
		m := w.boot("a", follows(web))
		m.publish(write(spam, "mine"))
		m.has("config/"+string(spam), "mine")

		w.put(spam, "theirs")
		w.passes(time.Millisecond)
		m.has("config/"+string(spam), "mine")
		m.Refresh(spam)
		m.has("config/"+string(spam), "theirs")

		w.put(spam, "one more")
		w.passes(time.Millisecond)
		p := write(spam, "from theirs")
		p.Base, p.CompareAndSet = m.current(spam), true
		_, err := m.Publish(context.Background(), p)
		w.is(err, registry.ErrConflict)
		m.has("config/"+string(spam), "one more") // the loser finds the winner at home

		w.put(spam, "the last")
		w.passes(time.Millisecond)
		m.halt()
	})
}

func (m *machine) current(name registry.Name) registry.Version {
	s, _ := m.Status(name)
	return s.Version
}

// A metaconfig is looked at again: what it says later counts from the next audit on.
func TestTheWaitIsLearnedByTheAudit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.put(spam, "first")
		m := w.boot("a", follows(web))
		w.put(spam, "second")
		m.has("config/"+string(spam), "second") // nobody has said anything
		w.waits(spam, 24*time.Hour)
		w.passes(3 * time.Hour)
		w.put(spam, "third")
		w.passes(time.Millisecond)
		m.isIn(spam, Stale, "max_wait_in_secs")
		w.waits(spam, 0)
		w.passes(3 * time.Hour)
		m.isIn(spam, Current)
		m.has("config/"+string(spam), "third") // and the wait that was under way is over
	})
}
