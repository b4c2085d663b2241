package mirror

import (
	"context"
	"math/rand/v2"
	"time"
)

// A retry waits a random time up to a bound that doubles from the first to the last: full jitter, so that a fleet that failed
// together does not come back together.
const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second
)

// backoff is the pause after so many failures, the first being 1.
func backoff(failures int) time.Duration {
	bound := lastBackoff
	if failures < 8 { // beyond, the shift has passed the bound
		bound = min(firstBackoff<<(failures-1), lastBackoff)
	}
	return rand.N(bound) + time.Millisecond
}

// shortOutage is the longest pause of the probe, until a tenth of the outage is longer.
const shortOutage = 3 * time.Second

// probePause is the pause after so many failures of an outage that has lasted so long. There is one probe for all that waits, so it may
// ask more often than one name would: an outage of seconds must not become one of half a minute here.
func probePause(failures int, lasted time.Duration) time.Duration {
	return min(backoff(failures), rand.N(max(shortOutage, lasted/10))+time.Millisecond)
}

// pause waits, and says whether ctx is still alive after it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
