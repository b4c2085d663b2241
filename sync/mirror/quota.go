package mirror

import (
	"fmt"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// DefaultMaxVersions is how many versions of one name a machine publishes within a minute. Each is fetched by every machine that follows
// the name: a loop that writes the time into a config would be twenty thousand requests a turn.
const DefaultMaxVersions = 60

// quota counts the versions that this machine has published of each name within the last minute.
type quota struct {
	most int // 0: as many as one likes

	mu    sync.Mutex
	made  map[disk.File][]time.Time // oldest first, none older than the period when the name was counted last
	swept time.Time
}

const quotaPeriod = time.Minute

func newQuota(most int) *quota {
	return &quota{most: most, made: map[disk.File][]time.Time{}, swept: time.Now()}
}

// check says why another version of a file would be one too many now.
func (q *quota) check(f disk.File) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	made := q.made[f]
	if q.most <= 0 || len(made) < q.most {
		return nil
	}
	wait := quotaPeriod - time.Since(made[len(made)-q.most])
	if wait <= 0 {
		return nil
	}
	return fmt.Errorf("%d versions of %s in a minute from this machine, and every machine that follows it fetches each; the next in %s "+
		"(--max-versions-per-minute): %w", q.most, f.Name, wait.Round(time.Second), registry.ErrQuota)
}

// count notes a version.
func (q *quota) count(f disk.File) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.most <= 0 {
		return
	}
	now := time.Now()
	if now.Sub(q.swept) > quotaPeriod {
		q.swept = now
		for other, made := range q.made {
			if now.Sub(made[len(made)-1]) > quotaPeriod {
				delete(q.made, other)
			}
		}
	}
	made := append(q.made[f], now)
	q.made[f] = made[max(0, len(made)-q.most):]
}

// Quota says why a version of a file would be refused now, however good it is: there were too many already. It asks nobody.
func (m *Mirror) Quota(f disk.File) error { return m.quota.check(f) }

// counted is the file that a publication makes a version of. Each decider counts for itself.
func (p Publication) counted() disk.File {
	if p.Decider != "" {
		return disk.File{Kind: registry.Decider, Name: p.Decider}
	}
	return disk.File{Kind: p.Name.Kind(), Name: string(p.Name)}
}
