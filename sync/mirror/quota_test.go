package mirror

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// TestPublishLoopIsStopped: a loop that publishes a name without end is refused after so many versions, other names are not, and a
// minute later it may go on. Bytes that are there already count for nothing.
func TestPublishLoopIsStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, ham, registry.DeciderName)
		o := follows(web)
		o.MaxVersions = 3
		m := w.boot("a", o)
		for i := range 3 {
			w.passes(10 * time.Second)
			for range 3 {
				m.publish(write(spam, fmt.Sprintf("turn %d", i)))
			}
		}
		_, err := m.Publish(w.Context(), write(spam, "one too many"))
		w.is(err, registry.ErrQuota)
		for _, words := range []string{"3 versions of " + string(spam), "in 40s", "--max-versions-per-minute"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("refused with %q, want %q in it", err, words)
			}
		}
		m.has("config/"+string(spam), "turn 2")
		m.publish(write(spam, "turn 2"))
		m.publish(write(ham, "another name"))
		w.passes(41 * time.Second)
		m.publish(write(spam, "after a minute"))
		_, err = m.Publish(w.Context(), write(spam, "again one too many"))
		w.is(err, registry.ErrQuota)

		for i := range 3 {
			m.publish(decide("gate", i))
		}
		_, err = m.Publish(w.Context(), decide("gate", 50))
		w.is(err, registry.ErrQuota)
		m.publish(decide("other", 50))
		m.publish(write(registry.DeciderName, `{}`))
	})
}

// TestALoopPublishesSixtyVersionsAMinute, unless something else was asked for.
func TestALoopPublishesSixtyVersionsAMinute(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		o := follows(web)
		o.MaxVersions = DefaultMaxVersions
		m := w.boot("a", o)
		for i := range 60 {
			m.publish(write(spam, fmt.Sprint("turn ", i)))
		}
		_, err := m.Publish(w.Context(), write(spam, "one too many"))
		w.is(err, registry.ErrQuota)
	})
}
