package mirror

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// GuardRules say how much of a serverset may leave its file, and how fast. Whatever they say, a serverset whose node was deleted
// keeps its file.
type GuardRules struct {
	Off        bool          // the file shows what the registry says, at once
	MinRatio   float64       // a set smaller than this part of what it was is held,
	MinMembers int           // if it was at least so large
	Release    time.Duration // after how long without a change such a set is believed; an empty one never is
	Damping    time.Duration // how long a member must be gone before it leaves the file
}

// DefaultGuard is the rules of a name for which there are no others.
func DefaultGuard() GuardRules {
	return GuardRules{MinRatio: 0.5, MinMembers: 5, Release: 10 * time.Minute, Damping: 10 * time.Second}
}

// HoldReason is why a file does not show what the registry says.
type HoldReason string

// The reasons of serversets. All but Damped make a name Held.
const (
	Empty   HoldReason = "empty"   // nobody is left: ends when somebody comes, or by an operator
	Shrunk  HoldReason = "shrunk"  // too many went at once: ends when enough are back, after GuardRules.Release, or by an operator
	Deleted HoldReason = "deleted" // the serverset's node is gone: ends when it is back, or by an operator
	Damped  HoldReason = "damped"  // some went a moment ago
)

// Hold is what keeps members in a serverset file that the registry does not show. The zero Hold is none.
type Hold struct {
	Reason HoldReason
	Since  time.Time
	Was    int       // members in the file when it began
	Now    int       // members in the registry
	Until  time.Time // when some of them leave, if nothing changes; zero: not by itself
}

// String is for the operator.
func (h Hold) String() string {
	switch h.Reason {
	case "":
		return ""
	case Empty:
		return fmt.Sprintf("empty, was %d", h.Was)
	case Deleted:
		return fmt.Sprintf("its node was deleted from the registry, was %d", h.Was)
	}
	return fmt.Sprintf("%s to %d, was %d", h.Reason, h.Now, h.Was)
}

// place is one line of a serverset file, and what is known of the member behind it.
type place struct {
	registry.Member           // of one that the registry has not shown since the start only the Endpoint
	gone            time.Time // since when the registry does not show it; zero: it does, or has not been heard
	late            time.Time // since when it is there, if it came while others were gone; zero: it counts as one of them
}

// look is what the registry shows at one moment.
type look struct {
	now      time.Time
	exists   bool
	said     []registry.Member // sorted by endpoint, each once
	losses   int64             // how often the registry was lost so far: what it says after a loss counts from now on
	blind    bool              // it is lost now, and said is what it said before
	accepted bool              // an operator believes it
}

// guard decides what a serverset file shows. It only knows what it is told: what is on disk, then look after look. Nothing of it
// needs to be kept: what it holds is on disk, and a new guard that starts from there holds it again.
//
// Members come at once. They go when they have been gone for GuardRules.Damping, and not at all while the set is held. The first
// look after a loss only starts the clocks, so that whatever is removed was seen to be gone twice, by a registry that was there
// all the while.
type guard struct {
	rules  GuardRules
	places []place // sorted by endpoint: what the file shows; replaced, never changed
	losses int64
	held   *holding // nil: not held
}

// holding is how a set is held.
type holding struct {
	reason HoldReason
	since  time.Time
	was    int
	stable time.Time // since when the registry has shown the same
}

// newGuard is the guard of a file that shows these endpoints, sorted and each once.
func newGuard(rules GuardRules, shown []registry.Endpoint, losses int64) *guard {
	g := &guard{rules: rules, losses: losses, places: make([]place, len(shown))}
	for i, e := range shown {
		g.places[i].Endpoint = e
	}
	return g
}

// step takes a look, and returns after how long another one is needed though nothing changes; 0: then none is.
func (g *guard) step(l look) (again time.Duration) {
	if l.accepted || g.rules.Off && l.exists {
		g.places = whole(l)
		g.held, g.losses = nil, l.losses
		return 0
	}
	doubted := l.losses != g.losses || l.blind
	g.losses = l.losses
	before := g.settled()
	places, changed := merge(g.places, l)
	g.places = places
	if doubted {
		g.restart(l.now)
	}
	g.judge(l, before)
	if g.held != nil && (changed || doubted) {
		g.held.stable = l.now
	}
	if l.blind {
		g.settle(l.now)
		return g.pause()
	}
	if g.held != nil && g.held.reason == Shrunk && l.now.Sub(g.held.stable) >= g.rules.Release {
		g.held = nil
		g.places = whole(l)
		return 0
	}
	g.remove(l.now)
	g.settle(l.now)
	return g.due(l.now)
}

// merge is what the registry shows, and what was there before and it does not. Changed says that somebody has come or gone since the
// last look.
func merge(before []place, l look) (places []place, changed bool) {
	var said []registry.Member
	if l.exists {
		said = l.said
	}
	places = make([]place, 0, max(len(before), len(said)))
	for len(before) > 0 || len(said) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(said) == 0:
			order = -1
		default:
			order = cmp.Compare(before[0].Endpoint, said[0].Endpoint)
		}
		var p place
		switch {
		case order > 0: // it has come
			p = place{Member: said[0], late: l.now}
			changed = true
		case order < 0: // it is not there
			if p = before[0]; p.gone.IsZero() {
				p.gone, changed = l.now, true
			}
		default:
			changed = changed || !before[0].gone.IsZero()
			p = place{Member: said[0], late: before[0].late}
		}
		places = append(places, p)
		if order <= 0 {
			before = before[1:]
		}
		if order >= 0 {
			said = said[1:]
		}
	}
	return places, changed
}

// whole is what the registry shows.
func whole(l look) []place {
	places, _ := merge(nil, l)
	for i := range places {
		places[i].late = time.Time{}
	}
	return places
}

// settled is how many places there are without those that came while others were gone: when half of a fleet replaces the other half,
// the new half is not missed.
func (g *guard) settled() (n int) {
	for _, p := range g.places {
		if p.late.IsZero() {
			n++
		}
	}
	return n
}

// settle counts who came late: when nobody is gone, after so long that it belongs to them anyhow, or when there is nobody else.
func (g *guard) settle(now time.Time) {
	waits := g.held != nil || slices.ContainsFunc(g.places, func(p place) bool { return !p.gone.IsZero() })
	waits = waits && g.settled() > 0
	for i := range g.places { // merge has just made them, they are nobody else's yet
		if p := &g.places[i]; !waits || p.gone.IsZero() && now.Sub(p.late) >= g.rules.Release {
			p.late = time.Time{}
		}
	}
}

// judge holds the set, or lets it go. A set that is let go because it is large enough again may still be on its way back: who is
// missing then has the whole damping left to come.
func (g *guard) judge(l look, before int) {
	was := before
	if g.held != nil {
		was = g.held.was
	}
	var reason HoldReason
	switch {
	case was == 0:
	case !l.exists:
		reason = Deleted
	case len(l.said) == 0:
		reason = Empty
	case was >= g.rules.MinMembers && float64(len(l.said)) < g.rules.MinRatio*float64(was):
		reason = Shrunk
	}
	switch {
	case reason == "" && g.held != nil:
		g.held = nil
		g.restart(l.now)
	case reason != "" && g.held == nil:
		g.held = &holding{reason: reason, since: l.now, was: was, stable: l.now}
	case reason != "" && g.held.reason != reason:
		g.held.reason, g.held.stable = reason, l.now
	}
}

// restart begins the damping of everybody who is gone anew.
func (g *guard) restart(now time.Time) {
	for i := range g.places { // merge has just made them
		if !g.places[i].gone.IsZero() {
			g.places[i].gone = now
		}
	}
}

// leaves says whether a place may go without anybody's word: while the set is held only who came meanwhile may, or a service that comes
// and goes under ever new ports would fill the file.
func (g *guard) leaves(p place) bool {
	return !p.gone.IsZero() && (g.held == nil || g.held.reason != Deleted && !p.late.IsZero())
}

// remove drops who has been gone for long enough.
func (g *guard) remove(now time.Time) {
	g.places = slices.DeleteFunc(g.places, func(p place) bool {
		return g.leaves(p) && now.Sub(p.gone) >= g.rules.Damping
	})
}

// pause is when to look again at somebody who is gone, while the registry is.
func (g *guard) pause() time.Duration {
	if !slices.ContainsFunc(g.places, func(p place) bool { return !p.gone.IsZero() }) {
		return 0
	}
	return max(g.rules.Damping, time.Second)
}

// due is how long until somebody leaves, or the whole set is believed.
func (g *guard) due(now time.Time) time.Duration {
	until := g.until()
	if until.IsZero() {
		return 0
	}
	return max(until.Sub(now), time.Nanosecond)
}

// until is when due is over; zero: never.
func (g *guard) until() (first time.Time) {
	if g.held != nil && g.held.reason == Shrunk {
		first = g.held.stable.Add(g.rules.Release)
	}
	for _, p := range g.places {
		if leaves := p.gone.Add(g.rules.Damping); g.leaves(p) && (first.IsZero() || leaves.Before(first)) {
			first = leaves
		}
	}
	return first
}

// hold is what there is to say about it.
func (g *guard) hold() Hold {
	var since time.Time
	here := 0
	for _, p := range g.places {
		switch {
		case p.gone.IsZero():
			here++
		case since.IsZero() || p.gone.Before(since):
			since = p.gone
		}
	}
	switch {
	case g.held != nil:
		return Hold{Reason: g.held.reason, Since: g.held.since, Was: g.held.was, Now: here, Until: g.until()}
	case !since.IsZero():
		return Hold{Reason: Damped, Since: since, Was: len(g.places), Now: here, Until: g.until()}
	}
	return Hold{}
}

// endpoints are the lines of the file.
func endpoints(places []place) []registry.Endpoint {
	lines := make([]registry.Endpoint, len(places))
	for i, p := range places {
		lines[i] = p.Endpoint
	}
	return lines
}

// roster is who serves, one an endpoint: of several registrations of one the latest, since that is the process that listens now. The
// members are sorted by endpoint.
func roster(members []registry.Member) []registry.Member {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b registry.Member) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), b.Since.Compare(a.Since), cmp.Compare(a.Node, b.Node))
	})
	return slices.CompactFunc(sorted, func(a, b registry.Member) bool { return a.Endpoint == b.Endpoint })
}
