package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// TestMissingDependencyAppears, after the connection has changed twice.
func TestMissingDependencyAppears(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	edges := edgesOf(t, c, "web.dep")
	edges.until(t, "that there is none", func(e registry.Edges) bool { return !e.Exists })
	for range 2 {
		was := c.Stats().Connections
		p.Cut()
		eventually(t, func() error {
			if c.Stats().Connections == was {
				return errors.New("still the old connection")
			}
			return c.Err()
		})
	}
	must(t, beside.CreateDependency(t.Context(), "web.dep"))
	edges.until(t, "its creation", func(e registry.Edges) bool { return e.Exists })
}

// TestUpdatesInARow: of two hundred updates in a row, with the wire cut between them, the last one wins everywhere.
func TestUpdatesInARow(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	populate(t, beside)
	feeds := []*follower[registry.State]{watch(t, c, blacklist.Pointer()), watch(t, beside, blacklist.Pointer())}
	var base registry.Version
	for i := range 200 {
		next := registry.Version(fmt.Sprintf("1795296200.%09d", i))
		advance(t, beside, blacklist.Pointer(), base, next)
		base = next
		if i%20 == 10 {
			p.Cut()
		}
	}
	for _, f := range feeds {
		f.until(t, "the last version", at(base))
	}
}

// TestEachCallSurvivesALoss: a connection that is lost before or after a request reaches the server costs no call its answer.
func TestEachCallSurvivesALoss(t *testing.T) {
	t.Parallel()
	steps := []struct {
		name string
		op   int32
		do   func(*zookeeper.Client, context.Context) error
	}{
		{"create", opCreate, func(c *zookeeper.Client, ctx context.Context) error { return c.Create(ctx, "/config/a/b/c") }},
		{"delete", opDelete, func(c *zookeeper.Client, ctx context.Context) error { return c.Delete(ctx, "/config/a/b/c") }},
		{"create a dependency", opCreate, func(c *zookeeper.Client, ctx context.Context) error {
			return c.CreateDependency(ctx, "new.dep")
		}},
		{"link", opMulti, func(c *zookeeper.Client, ctx context.Context) error {
			return c.Link(ctx, "new.dep", registry.Edge(blacklist))
		}},
		{"unlink", opDelete, func(c *zookeeper.Client, ctx context.Context) error {
			return c.Unlink(ctx, "new.dep", registry.Edge(blacklist))
		}},
		{"delete a dependency", opDelete, func(c *zookeeper.Client, ctx context.Context) error {
			return c.DeleteDependency(ctx, "new.dep")
		}},
		{"state", opGet, func(c *zookeeper.Client, ctx context.Context) error {
			_, err := c.State(ctx, blacklist.Pointer())
			return err
		}},
		{"names", opChildren, func(c *zookeeper.Client, ctx context.Context) error {
			names, err := c.Names(ctx)
			if err == nil && !slices.Equal(names, []registry.Name{blacklist}) {
				err = fmt.Errorf("the names are %q", names)
			}
			return err
		}},
	}
	for _, v := range []verdict{cutBefore, cutAfter} {
		p, c, beside, _ := behind(t, hasty)
		populate(t, beside)
		connected(t, c)
		for _, step := range steps {
			seen := p.Once(step.op, v, nil)
			if err := step.do(c, t.Context()); err != nil {
				t.Errorf("%s, verdict %d: %v", step.name, v, err)
			}
			if seen() < 2 {
				t.Errorf("%s, verdict %d: %d such requests seen, so this proves nothing", step.name, v, seen())
			}
		}
	}
}

// TestUnansweredCall: a server that answers pings and not a call has lost it. So the connection is replaced, and the call made again.
func TestUnansweredCall(t *testing.T) {
	t.Parallel()
	// The session is longer than a machine stalls: it is to be the call that ends the connection, and not a ping.
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: 8 * time.Second, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	connected(t, c)
	p.Once(opGet, swallow, nil)
	if s, err := c.State(t.Context(), blacklist.Pointer()); err != nil || !s.Exists {
		t.Errorf("state: %+v, %v", s, err)
	}
	if s := c.Stats(); s.Reconnects["unanswered"] != 1 || s.Sessions != 1 {
		t.Errorf("reconnects %v, %d sessions", s.Reconnects, s.Sessions)
	}
}

// TestFeedOfWhatCannotBe says so and goes on, as any feed.
func TestFeedOfWhatCannotBe(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	c := open(t, servers, hasty)
	watch(t, c, "/config/../a").trouble(t, registry.ErrInvalid)
	membersOf(t, c, "discovery").trouble(t, registry.ErrInvalid)
	edgesOf(t, c, "web").trouble(t, registry.ErrInvalid)
	refused(t, c.Delete(t.Context(), ""), registry.ErrInvalid, "delete nothing")
}

// TestFeedOfWhatIsNoVersion: data that cannot be a version is a trouble; the next version ends it.
func TestFeedOfWhatIsNoVersion(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	advance(t, c, blacklist.Pointer(), "", v1)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "its version", at(v1))
	conn, path := raw(t, z.Addr), strings.TrimPrefix(servers, z.Addr)+string(blacklist.Pointer())
	_, err := conn.Set(path, []byte("x'; touch /tmp/x; #"), -1)
	must(t, err)
	pointer.trouble(t, registry.ErrInvalid)
	_, err = c.State(t.Context(), blacklist.Pointer())
	refused(t, err, registry.ErrInvalid, "state")
	_, err = c.Advance(t.Context(), blacklist.Pointer(), v1, v2, nil)
	refused(t, err, registry.ErrConflict, "advance")
	_, err = conn.Set(path, []byte(v2), -1)
	must(t, err)
	pointer.until(t, "the next version", at(v2))
}

// TestClosed: a feed says once that nothing will come, and calls are refused.
func TestClosed(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "that it exists", at(""))
	joined := make(chan error, 1)
	go func() { joined <- c.Join(context.Background(), users, registry.Member{Endpoint: "10.0.0.1:9090"}) }()
	beside := membersOf(t, open(t, servers, hasty), users)
	beside.until(t, "the member", serve(1))
	must(t, c.Close())
	must(t, c.Close())
	pointer.trouble(t, zookeeper.ErrClosed)
	refused(t, <-joined, zookeeper.ErrClosed, "join")
	_, err := c.State(t.Context(), blacklist.Pointer())
	refused(t, err, zookeeper.ErrClosed, "state")
	refused(t, c.Err(), zookeeper.ErrClosed, "state of the connection")
	beside.until(t, "that the member is gone", serve(0))
}

// TestWatchesNotRestored: a server, or something in between, that does not take a request for watches. Then everything is read again.
func TestWatchesNotRestored(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	populate(t, beside)
	pointer, edges := watch(t, c, blacklist.Pointer()), edgesOf(t, c, "web.dep")
	pointer.until(t, "that it exists", at(""))
	edges.until(t, "that it is empty", func(e registry.Edges) bool { return e.Exists })
	p.See(func(op int32) verdict {
		if op == opSetWatches {
			return cutBefore
		}
		return pass
	})
	p.Shut()
	advance(t, beside, blacklist.Pointer(), "", v1)
	p.Open()
	pointer.until(t, "what was published meanwhile", at(v1))
	must(t, beside.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 })
}

// TestContent: a node's bytes, whatever they are.
func TestContent(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	_, err := raw(t, z.Addr).Set(strings.TrimPrefix(servers, z.Addr)+string(blacklist.Pointer()), []byte("no version\n"), -1)
	must(t, err)
	if data, err := c.Content(t.Context(), blacklist.Pointer()); err != nil || string(data) != "no version\n" {
		t.Errorf("the content is %q, %v", data, err)
	}
	_, err = c.Content(t.Context(), greylist.Pointer())
	refused(t, err, registry.ErrNotExist, "content of nothing")
	_, err = c.Content(t.Context(), "")
	refused(t, err, registry.ErrInvalid, "content of no path")
}
