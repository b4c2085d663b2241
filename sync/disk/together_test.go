package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// The server, the mirror and the readers of the mount all at once: no body that is offered is bad, no feed misses the end, and what is
// left is what a restart finds.
func TestServerMirrorAndReadersTogether(t *testing.T) {
	s := openAt(t, scratch(t), Options{Keep: 1, Logger: unhappy(t)})
	const files, rounds = 6, 60
	name := func(n int) File { return config(fmt.Sprintf("config.n%d", n%files)) }
	ctx, cancel := context.WithCancel(t.Context())
	var writers, others sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for n := range rounds {
				commit(t, s, name(n+w), registry.Order(n), fmt.Sprint(w, n))
				if n%20 == 19 {
					if err := s.Remove(name(n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Go(func() {
		for n := range rounds {
			if err := s.SetGraph(edges{"web.dep": {registry.Edge(name(n).Name), registry.Edge(name(n / 2).Name)}}); err != nil {
				t.Error(err)
			}
			if n%10 == 0 {
				if err := rewrite(s); err != nil {
					t.Error(err)
				}
			}
		}
	})
	others.Go(func() { // the server: announces, and drops what expired
		for changed := range s.Changes(ctx) {
			for _, e := range s.Unannounced() {
				s.Announced(e.Stamp)
			}
			for _, r := range s.Removed() {
				s.Announced(r.Stamp)
			}
			if changed.Graph {
				s.GraphAnnounced(s.Graph())
			}
			for _, e := range s.Expired() {
				if err := s.Drop(e.Stamp); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				readAll(t, s)
			}
		})
	}
	writers.Wait()
	eventually(t, func() bool {
		return len(s.Unannounced()) == 0 && len(s.Removed()) == 0 && len(s.Expired()) == 0 && s.Graph().equal(s.AnnouncedGraph())
	})
	cancel()
	others.Wait()
	before := state(t, s)
	checkTidy(t, s)
	s = reopen(t, s, Options{Keep: 1})
	<-s.repaired
	if after := state(t, s); after != before {
		t.Errorf("after a restart\n%s, was\n%s", after, before)
	}
	// A removal may be: of a file that came and went again before the journal said that its first end was announced, it is not known that
	// nobody has heard of the second life.
	if n := len(s.Unannounced()); n > 0 || !s.Graph().equal(s.AnnouncedGraph()) {
		t.Errorf("%d versions are announced again", n)
	}
	checkTidy(t, s)
}

// readAll reads what is listed, as far as it is not dropped meanwhile.
func readAll(t *testing.T, s *Store) {
	for _, e := range append(s.List(registry.Config), s.Superseded()...) {
		file, err := s.OpenBody(e.Stamp)
		if errors.Is(err, registry.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := io.ReadAll(file)
		if err != nil || registry.Sum(b) != e.SHA256 {
			t.Errorf("%s reads %q: %v", e.File, b, err)
		}
		file.Close()
	}
}
