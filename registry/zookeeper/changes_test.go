package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// reader follows many names with one goroutine, as the mirror does: it reads what it is told of, and again what it could not read.
type reader struct {
	mu     sync.Mutex
	states map[registry.Pointer]registry.State
	told   int
}

func read(t testing.TB, c *zookeeper.Client, names ...registry.Name) *reader {
	t.Helper()
	r := &reader{states: make(map[registry.Pointer]registry.State)}
	for _, n := range names {
		t.Cleanup(c.Follow(n))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for nodes, err := range c.Changes(ctx) {
			if err != nil {
				continue
			}
			for _, p := range nodes {
				s, err := c.State(ctx, p)
				for errors.Is(err, registry.ErrUnreachable) && ctx.Err() == nil {
					s, err = c.State(ctx, p)
				}
				r.mu.Lock()
				if err == nil {
					if last := r.states[p]; s.Exists && s.Order < last.Order {
						t.Errorf("%s: order %d after %d", p, s.Order, last.Order)
					}
					r.states[p] = s
				}
				r.told++
				r.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

// has waits until the last that was read of p is as it should be.
func (r *reader) has(t testing.TB, p registry.Pointer, ok func(registry.State) bool) {
	t.Helper()
	eventually(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s, known := r.states[p]; !known || !ok(s) {
			return fmt.Errorf("%s was read as %+v", p, s)
		}
		return nil
	})
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

// TestChangesMissNothing: names change while the wire is cut, while the session is another, and just when a cut comes between the
// telling and the reading. Nothing is missed, and what has not changed is not read again.
func TestChangesMissNothing(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	const many = 100
	var names []registry.Name
	for i := range many {
		names = append(names, registry.Name(fmt.Sprintf("config.manageddata.many.key%d", i)))
		must(t, beside.Create(t.Context(), names[i].Pointer()))
	}
	r := read(t, c, names...)
	for _, n := range names {
		r.has(t, n.Pointer(), at(""))
	}
	base := make(map[registry.Pointer]registry.Version)
	publish := func(round int, names ...registry.Name) {
		for _, n := range names {
			p, next := n.Pointer(), registry.Version(fmt.Sprintf("1795296152.%09d", round))
			advance(t, beside, p, base[p], next)
			base[p] = next
		}
	}
	for round := range 12 {
		before := r.count()
		some := names[round : round+10]
		switch round % 3 {
		case 0:
			p.Shut()
			eventually(t, func() error { return unlessUnreachable(c.Err()) })
			publish(round, some...)
		case 1:
			c.ForgetSession()
			publish(round, some[:5]...)
			p.Cut()
			publish(round, some[5:]...)
		case 2:
			for i := range some {
				publish(round, some[i])
				p.Cut()
			}
		}
		p.Open()
		for _, n := range some {
			r.has(t, n.Pointer(), at(base[n.Pointer()]))
		}
		if told := r.count() - before; told > many/2 {
			t.Errorf("round %d: told of %d names, and %d had changed", round, told, len(some))
		}
	}
}

// TestChangesOfWhatIsNotFollowedAnyMore are not told, and the rest of the feeds hears what it did.
func TestChangesOfWhatIsNotFollowedAnyMore(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	stop := c.Follow(blacklist)
	r := read(t, c, greylist)
	feed := watch(t, c, blacklist.Pointer())
	r.has(t, greylist.Pointer(), func(s registry.State) bool { return !s.Exists })
	r.has(t, blacklist.Pointer(), at(""))
	stop()
	advance(t, c, blacklist.Pointer(), "", v1)
	feed.until(t, "its version", at(v1))
	must(t, c.Create(t.Context(), greylist.Pointer()))
	r.has(t, greylist.Pointer(), at(""))
	r.has(t, blacklist.Pointer(), at(""))
	feed.stop()
	if s := c.Stats(); s.Feeds != 1 {
		t.Errorf("%d feeds, want that of %s", s.Feeds, greylist)
	}
}

// TestChangesWithoutAnEnsemble say what is the matter, once, and tell of everything when there is one.
func TestChangesWithoutAnEnsemble(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	p.Shut()
	must(t, beside.Create(t.Context(), blacklist.Pointer()))
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	defer c.Follow(blacklist)()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	troubles := 0
	for nodes, err := range c.Changes(ctx) {
		if err != nil {
			refused(t, err, registry.ErrUnreachable, "the feed")
			troubles++
			time.AfterFunc(100*time.Millisecond, p.Open)
			continue
		}
		if len(nodes) == 1 && nodes[0] == blacklist.Pointer() {
			break
		}
		t.Errorf("told of %q", nodes)
	}
	if ctx.Err() != nil || troubles > 1 {
		t.Errorf("%d troubles, %v", troubles, ctx.Err())
	}
	must(t, c.Close())
	for _, err := range c.Changes(ctx) {
		refused(t, err, zookeeper.ErrClosed, "the feed of a closed client")
		break
	}
}

// TestChangesAfterAccept: those of another ensemble are applied when it is accepted, all of them.
func TestChangesAfterAccept(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	beside := open(t, servers, hasty)
	populate(t, beside)
	c := open(t, servers, zookeeper.Options{MaxBackoff: hasty.MaxBackoff, Seen: zookeeper.Ensemble{Root: "another", Zxid: 1}})
	eventually(t, func() error {
		if err := c.Err(); !errors.Is(err, zookeeper.ErrEnsemble) {
			return fmt.Errorf("not frozen: %v", err)
		}
		return nil
	})
	r := read(t, c, blacklist)
	advance(t, beside, blacklist.Pointer(), "", v1)
	if n := r.count(); n != 0 {
		t.Errorf("told %d times while frozen", n)
	}
	must(t, c.Accept(t.Context()))
	r.has(t, blacklist.Pointer(), at(v1))
}

// TestChangesOfLargeSetsAreReadWhenAsked: a hundred members come one after the other, and who follows is told once and has one list to
// read. What he is told just before the wire is cut he is told again when it is whole, since he could not read it.
func TestChangesOfLargeSetsAreReadWhenAsked(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	populate(t, beside)
	defer c.Follow(users)()
	told := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for _, err := range c.Changes(ctx) {
			if err == nil {
				told <- struct{}{}
			}
		}
	})
	defer running.Wait()
	defer cancel()
	hear := func() {
		t.Helper()
		select {
		case <-told:
		case <-time.After(patience):
			t.Fatal("nothing is told")
		}
	}
	read := func() int {
		for m, err := range c.Members(ctx, users) {
			must(t, err)
			return len(m.Members)
		}
		return -1
	}
	hear()
	if n := read(); n != 0 {
		t.Errorf("%d members", n)
	}
	before := c.Stats().Reads
	for i := range 100 {
		join(t, beside, users, registry.Member{Endpoint: registry.Endpoint(fmt.Sprintf("10.0.0.%d:9090", i+1))})
	}
	membersOf(t, beside, users).until(t, "all", serve(100))
	hear()
	if reads := c.Stats().Reads - before; reads > 0 || len(told) > 0 {
		t.Errorf("told %d times more, and read %d times, though nobody asked", len(told), reads)
	}
	eventually(t, func() error {
		if n := read(); n != 100 {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})

	join(t, beside, users, registry.Member{Endpoint: "10.0.1.1:9090"})
	hear()
	p.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	if n := read(); n != 100 {
		t.Errorf("%d members are known while nobody can be asked", n)
	}
	p.Open()
	hear()
	eventually(t, func() error {
		if n := read(); n != 101 {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})
}
