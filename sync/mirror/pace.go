package mirror

import "time"

// A serverset file that changes all the time changes ten times a second, however many come and go: each version costs a machine the
// reading of all members, a write, and an event to every program that watches (BenchmarkServersetStorm). A few changes are
// shown at once.
const (
	paceRate  = 10 // versions a second
	paceBurst = 10 // versions at once
)

// pace says when a file may change again. The zero pace is rested.
type pace struct {
	spent float64 // versions, of paceBurst
	at    time.Time
}

// wait is how long until another version may be made; 0: now.
func (p pace) wait(now time.Time) time.Duration {
	over := p.left(now) - (paceBurst - 1)
	if over <= 0 {
		return 0
	}
	return max(time.Duration(over/paceRate*float64(time.Second)), time.Nanosecond)
}

func (p pace) left(now time.Time) float64 {
	return max(0, p.spent-paceRate*now.Sub(p.at).Seconds())
}

// spend notes that a version was made.
func (p pace) spend(now time.Time) pace { return pace{p.left(now) + 1, now} }

// early is how long f should be left alone, so that what happens to it meanwhile costs one version.
func (m *Mirror) early(f *follower) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return f.pace.wait(time.Now())
}
