package decider

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/kingpinfs/kingpin/registry"
)

// buckets is how many parts of the world there are.
const buckets = 100

// value is the percent of one name as updates set it, shared by all gates of that name.
type value struct{ percent atomic.Int32 }

const unknown = -1

func (v *value) set(percents map[string]int, name string) {
	percent, ok := percents[name]
	if !ok {
		percent = unknown
	}
	v.percent.Store(int32(percent))
}

// Gate is one decider. It is small, to be copied and kept, and asks nothing but one atomic value. Updates change that. The zero Gate, which
// nobody has resolved, has 0 percent.
type Gate struct {
	value     *value
	otherwise int32
	name      string
	deciders  *Deciders
}

// Gate resolves a name: do it once, when the program starts. otherwise is the percent while the name is unknown, from 0 to 100.
func (d *Deciders) Gate(name string, otherwise int) Gate {
	d.mu.Lock()
	defer d.mu.Unlock()
	lower := strings.ToLower(name)
	v := d.gates[lower]
	if v == nil {
		v = &value{}
		v.set(d.percents, lower)
		d.gates[lower] = v
	}
	return Gate{v, int32(clamp(otherwise)), name, d}
}

func clamp(percent int) int { return min(max(percent, 0), 100) }

// Value is the percent, from 0 to 100.
func (g Gate) Value() int {
	if g.value == nil {
		return 0
	}
	if percent := g.value.percent.Load(); percent != unknown {
		return int(percent)
	}
	return int(g.otherwise)
}

// Active says yes to that many percent of the calls, at random.
func (g Gate) Active() bool {
	switch percent := g.Value(); percent {
	case 0:
		return false
	case 100:
		return true
	default:
		return rand.IntN(buckets) < percent
	}
}

// ActiveFor says whether the gate is open for an id, the same for the same id.
func (g Gate) ActiveFor(id int64) bool { return bucketOf(id) < g.Value() }

// ActiveForKey says whether the gate is open for a key, the same for the same key. Other gates have other buckets for it.
func (g Gate) ActiveForKey(key string) bool { return bucketOfKey(g.name, key) < g.Value() }

// bucketOf is Python's id % 100: never negative.
func bucketOf(id int64) int {
	bucket := int(id % buckets)
	if bucket < 0 {
		bucket += buckets
	}
	return bucket
}

// bucketOfKey is Python's int(md5("decider_" + name + key).hexdigest(), 16) % 100.
func bucketOfKey(name, key string) int {
	var space [256]byte
	sum := md5.Sum(append(append(append(space[:0], "decider_"...), name...), key...))
	_, high := bits.Div64(0, binary.BigEndian.Uint64(sum[:8]), buckets)
	_, bucket := bits.Div64(high, binary.BigEndian.Uint64(sum[8:]), buckets)
	return int(bucket)
}

// Decision is why a gate is open for a key, or is not.
type Decision struct {
	Value  int    // the percent that counted
	Bucket int    // of the key, from 0 to 99
	Active bool   // Bucket is below Value
	Reason string // where Value is from, in words for a log or a person
}

// Explain decides for a key as ActiveForKey does, and says why.
func (g Gate) Explain(key string) Decision {
	d := Decision{Value: g.Value(), Bucket: bucketOfKey(g.name, key)}
	if g.value == nil {
		d.Reason = "default: a gate that was not resolved"
		return d
	}
	known := g.value.percent.Load() != unknown
	d.Active = d.Bucket < d.Value
	_, wrong := registry.ParseDeciderName(strings.ToLower(g.name))
	problem := g.deciders.Err()
	switch {
	case known && problem == nil:
		d.Reason = "published"
	case known:
		d.Reason = fmt.Sprintf("last good value: %v", problem)
	case wrong != nil:
		d.Reason = fmt.Sprintf("default: %v", wrong)
	case problem != nil:
		d.Reason = fmt.Sprintf("default: %v", problem)
	default:
		d.Reason = fmt.Sprintf("default: nobody has set %s", strings.ToLower(g.name))
	}
	return d
}
