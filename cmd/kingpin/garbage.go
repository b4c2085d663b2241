package main

import (
	"runtime"
	"runtime/debug"
	gometrics "runtime/metrics"
)

const (
	// gcPercent is how much garbage a server lets lie about, in hundredths of what lives. What lives is an index that hardly changes,
	// so collecting more often costs next to nothing, and is the difference between 90 and 61 MiB at 10,000 names (bench -only scale).
	gcPercent = 40
	// gcFloor is how much garbage is not too much in a start, in bytes. While little lives, gcPercent of it is used up by a few dozen
	// requests to S3: a first boot of 1,000 names spent a sixth of its processor time on collecting, and on stacks that shrink
	// whenever that is done (bench -only fleet). From 20 MB of what lives on it makes no difference.
	gcFloor = 8 << 20
)

// paceGarbage has the runtime collect garbage when there is gcPercent of what lives, or while the server is starting gcFloor if that
// is more. What lives is known after each collection, and starting is asked then.
func paceGarbage(starting func() bool) {
	var again func(struct{})
	again = func(struct{}) {
		if !starting() {
			debug.SetGCPercent(gcPercent)
			return
		}
		debug.SetGCPercent(pace(liveBytes()))
		runtime.AddCleanup(new(collected), again, struct{}{})
	}
	again(struct{}{})
}

// collected is garbage, so that the next collection is noticed. One with a pointer is never put into a block with others that live.
type collected struct{ _ *byte }

// pace is the garbage that may lie about in a start, in hundredths of live bytes. The runtime never counts less than 4 MB as live.
func pace(live uint64) int {
	return max(gcPercent, int(gcFloor*100/max(live, 4<<20)))
}

// liveBytes is what the last collection left of the heap.
func liveBytes() uint64 {
	sample := []gometrics.Sample{{Name: "/gc/heap/live:bytes"}}
	gometrics.Read(sample)
	if sample[0].Value.Kind() != gometrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
