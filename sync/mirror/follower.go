package mirror

import (
	"context"
	"errors"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Condition is how a followed name is on this machine.
type Condition string

// The conditions. What is stale or pending is tried again by itself; what is held waits for the registry to say something better, or
// for an operator.
const (
	Pending Condition = "pending" // wanted, and not here yet
	Current Condition = "current" // here as it was last published
	Stale   Condition = "stale"   // here, but a later version could not be brought home
	Held    Condition = "held"    // here, and what the registry says cannot be right
	Missing Condition = "missing" // wanted, but there is no such name
)

// follower is one name that this machine follows.
type follower struct {
	name registry.Name
	turn turn // queue.mu guards it

	// Mirror.mu guards the rest.
	word       word
	stop       context.CancelFunc // ends the feed; nil: there is none
	leaving    time.Time          // since when nothing wants it; zero: something does
	implied    bool               // no dependency holds it, it is followed if it exists
	ask        bool               // the registry is to be asked before the next look, whatever the feed has said
	looks      looks              // that were asked for
	behind     time.Time          // since when what is published is not here; zero: it is
	condition  Condition
	reason     string    // why it is not Current
	since      time.Time // of condition and reason
	failures   int       // in a row
	warned     bool      // the log says that it is not up to date
	metaconfig registry.Version
	hold       Hold       // of a serverset
	cause      HoldReason // while it is Held
	pace       pace       // of a serverset
	places     []place    // of a serverset: its file, line by line; replaced, never changed

	spread spread // of a config

	guarded guarded // whoever has the name's lock has it
}

// looks counts how often somebody has wanted the registry to be asked, so that he can wait for what came of it.
type looks struct{ wanted, begun, done uint64 }

func (f *follower) file() disk.File { return disk.File{Kind: f.name.Kind(), Name: string(f.name)} }

// errMissing is the error of a name that is wanted and does not exist.
var errMissing = errors.New("subscribed, but there is no such name")

// reconcile brings home what the registry last said about f. A worker of the queue runs it. If somebody else has the name's lock
// there is nothing to do: he queues f again when he lets go.
func (m *Mirror) reconcile(ctx context.Context, f *follower) {
	if wait := m.early(f); wait > 0 {
		m.queue.addLater(f, wait)
		return
	}
	unlock, ok := m.locks.try(f.name)
	if !ok {
		return
	}
	defer unlock()

	s, err := m.slots.take(ctx)
	if err != nil {
		return
	}
	defer s.release()
	w, ok, err := m.lastWord(ctx, f)
	if err == nil && ok && m.postponed(ctx, f, w) {
		return
	}
	if err == nil && ok {
		_, err = m.bringHome(ctx, f.name, w, s)
	}
	if ctx.Err() == nil && (ok || err != nil) {
		m.conclude(f, w, err)
	}
}

// lastWord is what the registry said about f. ok is false if it has said nothing, and nothing is to be done without it.
func (m *Mirror) lastWord(ctx context.Context, f *follower) (w word, ok bool, err error) {
	m.mu.Lock()
	if m.followers[f.name] != f {
		m.mu.Unlock()
		return word{}, false, nil
	}
	w, ask := f.word, f.ask
	m.mu.Unlock()

	if known, damaged := m.diskWord(f); damaged && !w.heard {
		if ask {
			m.queue.addLater(f, backoff(1)) // the registry may hang: its turn is after the repair
		}
		return known, true, nil
	}
	if !ask {
		return w, w.heard, nil
	}
	m.mu.Lock()
	f.ask, f.looks.begun = false, f.looks.wanted
	m.mu.Unlock()
	fresh, err := m.ask(ctx, f.name)
	switch {
	case err != nil && w.heard:
		return w, false, err
	case err != nil:
		m.askAgain(f, err)
		return w, false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.take(fresh)
	return f.word, true, nil
}

// diskWord is what the disk knows of a config whose body went bad: which version to fetch again, with or without the registry.
func (m *Mirror) diskWord(f *follower) (w word, damaged bool) {
	if f.name.Kind() != registry.Config || !m.damaged(f.name) {
		return word{}, false
	}
	entry, here := m.store.Current(f.file())
	return word{exists: true, version: entry.Version, order: entry.Order}, here
}

// askAgain has the registry asked again about a name of which it has said nothing yet. What is on disk counts as current meanwhile.
func (m *Mirror) askAgain(f *follower, err error) {
	m.mu.Lock()
	f.ask, f.looks.done = true, f.looks.begun
	f.failures++
	after := backoff(f.failures)
	if f.condition == Pending {
		f.reason = err.Error()
	}
	m.mu.Unlock()
	m.notify()
	m.tryLater(f, after, err)
}

// tryLater has f worked on again, after a pause or, while whoever did not answer is away, with his first answer: thousands of names
// need not ask one by one whether he is back. f.failures is above 0 already, or retryFailed would not see it.
func (m *Mirror) tryLater(f *follower, after time.Duration, err error) {
	if errors.Is(err, registry.ErrUnreachable) && (m.health.lost(registrySide) != nil || m.health.lost(bodiesSide) != nil) {
		return
	}
	m.queue.addLater(f, after)
}

// conclude notes what came of following the word w, and when to try again.
func (m *Mirror) conclude(f *follower, w word, err error) {
	_, here := m.store.Current(f.file())
	hold, isHeld := errors.AsType[held](err)
	again := false

	m.mu.Lock()
	f.looks.done = f.looks.begun
	before := f.condition
	switch {
	case err == nil:
		f.become(Current, "")
		f.spread.due, f.spread.hurry = time.Time{}, false
	case isHeld && here:
		f.become(Held, hold.reason)
		f.cause = hold.cause
		again = hold.again
	case errors.Is(err, errMissing):
		f.become(Missing, err.Error())
	case here:
		f.become(Stale, err.Error())
		again = true
	default:
		f.become(Pending, err.Error())
		again = !isHeld || hold.again
	}
	if f.condition == Stale || f.condition == Pending {
		if f.behind.IsZero() {
			f.behind = time.Now()
		}
	} else {
		f.behind = time.Time{}
	}
	f.failures++
	if !again {
		f.failures = 0
	}
	after := backoff(max(f.failures, 1))
	if again {
		f.ask = true
	}
	shown := f.condition != Missing
	m.mu.Unlock()

	m.logCondition(f, before, w, err)
	if again {
		m.tryLater(f, after, err)
	}
	if shown != (before != Missing) {
		m.replan()
	}
	m.notify()
}

// rest remembers that everything is here, if it is and nobody is at work any more: two who finish together each find the other at it.
func (m *Mirror) rest() {
	if m.queue.idle() {
		m.Ready()
	}
}

// become is a change of condition, and keeps the time of one that stays.
func (f *follower) become(c Condition, reason string) {
	if f.condition != c || f.since.IsZero() {
		f.since = time.Now()
	}
	f.condition, f.reason = c, reason
}

// retryFailed has everything that waits after a failure tried at once.
func (m *Mirror) retryFailed() {
	m.mu.Lock()
	var failed []*follower
	for _, f := range m.followers {
		if f.failures > 0 {
			failed = append(failed, f)
		}
	}
	m.mu.Unlock()
	for _, f := range failed {
		m.queue.add(f)
	}
}

// Refresh asks the registry about these names at once, or about all if there are none, and brings home what differs; whatever is away
// is asked first whether it is back. It does not wait.
func (m *Mirror) Refresh(names ...registry.Name) {
	signal(m.health.now)
	m.hurry(names)
	m.refresh(names...)
}

func (m *Mirror) refresh(names ...registry.Name) {
	m.mu.Lock()
	var asked []*follower
	if len(names) == 0 {
		for _, f := range m.followers {
			asked = append(asked, f)
		}
	}
	for _, name := range names {
		if f := m.followers[name]; f != nil {
			asked = append(asked, f)
		}
	}
	for _, f := range asked {
		f.ask = true
		f.looks.wanted++
	}
	m.mu.Unlock()
	for _, f := range asked {
		m.queue.add(f)
	}
}

// wakeUp queues a name that somebody has just let go of.
func (m *Mirror) wakeUp(name registry.Name) {
	m.mu.Lock()
	f := m.followers[name]
	m.mu.Unlock()
	if f != nil {
		m.queue.add(f)
	}
}

// followed says whether the name has a file here, or is to have one.
func (m *Mirror) followed(name registry.Name) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followers[name] != nil
}
