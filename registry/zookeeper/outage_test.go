package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// behind opens one client behind a proxy and another beside it, in an unused chroot.
func behind(t *testing.T, o zookeeper.Options) (p *proxy, c, beside *zookeeper.Client, chroot string) {
	t.Helper()
	z, servers := ensemble(t)
	chroot = strings.TrimPrefix(servers, z.Addr)
	p = startProxy(t, z.Addr)
	beside = open(t, servers, hasty)
	c = open(t, p.Addr+chroot, o)
	return p, c, beside, chroot
}

// populate makes what the tests follow.
func populate(t *testing.T, c *zookeeper.Client) {
	t.Helper()
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	must(t, c.Create(t.Context(), blacklist.Metaconfig()))
	must(t, c.Create(t.Context(), users.Pointer()))
	must(t, c.CreateDependency(t.Context(), "web.dep"))
}

// TestServerRestarts: what changes hands while the server is down, or just before and after, is seen; members stay.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	var seen log
	c := open(t, z.Addr, zookeeper.Options{Logger: seen.logger(), MaxBackoff: hasty.MaxBackoff})
	populate(t, c)
	pointer, members, edges := watch(t, c, blacklist.Pointer()), membersOf(t, c, users), edgesOf(t, c, "web.dep")
	pointer.until(t, "that it exists", at(""))
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	members.until(t, "the member", serve(1))

	last := advance(t, c, blacklist.Pointer(), "", v1)
	for round, next := range []registry.Version{v2, v3} {
		stop, start := z.Stop, z.Start
		if round == 1 {
			stop = z.Kill
		}
		stop()
		eventually(t, func() error {
			if err := c.Err(); !errors.Is(err, registry.ErrUnreachable) {
				return fmt.Errorf("while the server is down: %v", err)
			}
			return nil
		})
		must(t, start())
		connected(t, c)
		last = advance(t, c, blacklist.Pointer(), last.Version, next)
		pointer.until(t, "the next version", at(next))
	}
	must(t, c.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 })
	if children, _, err := raw(t, z.Addr).Children(string(users.Pointer())); err != nil || len(children) != 1 {
		t.Errorf("the members are %q, %v", children, err)
	}
	if s := c.Stats(); s.Sessions != 1 || s.Connections != 3 {
		t.Errorf("%d sessions on %d connections, want one session on three", s.Sessions, s.Connections)
	}
	if lost, back := seen.count("zookeeper lost"), seen.count("zookeeper back", "after="); lost != 2 || back != 2 {
		t.Errorf("logged %d times lost and %d times back:\n%s", lost, back, &seen)
	}
}

// TestCutWire: nothing is read again that has not changed, and what has is seen.
func TestCutWire(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, hasty)
	populate(t, beside)
	var quiet []*follower[registry.State]
	for i := range 200 {
		quiet = append(quiet, watch(t, c, registry.Pointer(fmt.Sprintf("/config/quiet/%d", i))))
	}
	for _, f := range quiet {
		f.until(t, "that there is nothing", func(s registry.State) bool { return !s.Exists })
	}
	pointer, members, edges := watch(t, c, blacklist.Pointer()), membersOf(t, c, users), edgesOf(t, c, "web.dep")
	pointer.until(t, "that it exists", at(""))
	members.until(t, "that nobody is there", serve(0))
	edges.until(t, "that it is empty", func(e registry.Edges) bool { return e.Exists })
	leave := join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	members.until(t, "the member", serve(1))
	before, read := onlyMember(t, chroot), c.Stats().Reads

	p.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	advance(t, beside, blacklist.Pointer(), "", v1)
	must(t, beside.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	must(t, beside.Create(t.Context(), "/config/quiet/7"))
	p.Open()
	pointer.until(t, "what was published meanwhile", at(v1))
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 })
	quiet[7].until(t, "its creation", at(""))
	if more := c.Stats().Reads - read; more > 10 {
		t.Errorf("after the connection was back %d nodes were read, and three had changed", more)
	}
	if after := onlyMember(t, chroot); after != before {
		t.Errorf("the member was %s, and is %s", before, after)
	}
	if s := c.Stats(); s.Sessions != 1 {
		t.Errorf("%d sessions", s.Sessions)
	}
	advance(t, beside, blacklist.Pointer(), v1, v2)
	pointer.until(t, "what is published now", at(v2))
	leave()
	members.until(t, "that nobody is there", serve(0))
}

func unlessUnreachable(err error) error {
	if errors.Is(err, registry.ErrUnreachable) {
		return nil
	}
	return fmt.Errorf("it is not unreachable: %v", err)
}

// onlyMember is the one member's node and when it was made.
func onlyMember(t *testing.T, chroot string) string {
	t.Helper()
	z, err := shared()
	must(t, err)
	conn := raw(t, z.Addr)
	parent := chroot + string(users.Pointer())
	children, _, err := conn.Children(parent)
	if err != nil || len(children) != 1 {
		t.Fatalf("the members are %q, %v, want one", children, err)
	}
	_, stat, err := conn.Get(parent + "/" + children[0])
	must(t, err)
	return fmt.Sprintf("%s of %d", children[0], stat.Czxid)
}

// TestSessionExpires: the member comes back in the new session, under its name, and was never there twice.
func TestSessionExpires(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, zookeeper.Options{SessionTimeout: time.Second, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	seen := membersOf(t, beside, users)
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	seen.until(t, "the member", serve(1))
	before := onlyMember(t, chroot)
	pointer, edges := watch(t, c, blacklist.Pointer()), edgesOf(t, c, "web.dep")
	pointer.until(t, "that it exists", at(""))

	for round, next := range []registry.Version{v1, v2} {
		p.Shut()
		seen.until(t, "that the member is gone", func(m registry.Membership) bool { return once(t, m) && len(m.Members) == 0 })
		_, err := beside.Advance(t.Context(), blacklist.Pointer(), []registry.Version{"", v1}[round], next, nil)
		must(t, err)
		p.Open()
		seen.until(t, "the member", func(m registry.Membership) bool { return once(t, m) && len(m.Members) == 1 })
		pointer.until(t, "what was published meanwhile", at(next))
	}
	must(t, beside.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 })
	after := onlyMember(t, chroot)
	if name, _, _ := strings.Cut(before, " "); after == before || !strings.HasPrefix(after, name) {
		t.Errorf("the member was %s, and is %s", before, after)
	}
	if s := c.Stats(); s.Sessions != 3 {
		t.Errorf("%d sessions, want three", s.Sessions)
	}
}

func once(t *testing.T, m registry.Membership) bool {
	t.Helper()
	if len(m.Members) > 1 {
		t.Errorf("the member is there more than once: %+v", m.Members)
	}
	return true
}

// TestOldSessionLives on when ours is a new one. The member moves from the one to the other, is never gone, and never there twice.
func TestOldSessionLives(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	seen := membersOf(t, beside, users)
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	first := seen.until(t, "the member", serve(1))
	c.ForgetSession()
	p.Cut()
	seen.until(t, "that it has moved", func(m registry.Membership) bool { return serve(1)(m) && m.Order > first.Order })
	z, err := shared()
	must(t, err)
	ours(t, c, raw(t, z.Addr), chroot+string(users.Pointer()))
	if s := c.Stats(); s.Connections != 2 {
		t.Errorf("%d connections", s.Connections)
	}
}

// TestHalfOpen: the wire takes everything and gives nothing. Every call ends with its ctx, and the client finds out.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: 2 * time.Second, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "that it exists", at(""))
	p.Freeze()
	for name, call := range map[string]func(context.Context) error{
		"state":  func(ctx context.Context) error { _, err := c.State(ctx, blacklist.Pointer()); return err },
		"names":  func(ctx context.Context) error { _, err := c.Names(ctx); return err },
		"create": func(ctx context.Context) error { return c.Create(ctx, "/config/new") },
		"link":   func(ctx context.Context) error { return c.Link(ctx, "web.dep", registry.Edge(blacklist)) },
		"advance": func(ctx context.Context) error {
			_, err := c.Advance(ctx, blacklist.Pointer(), "", v2, nil)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		refused(t, call(ctx), context.DeadlineExceeded, name)
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	refused(t, c.Join(ctx, users, registry.Member{Endpoint: "10.0.0.1:9090"}), nil, "join")
	cancel()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	advance(t, beside, blacklist.Pointer(), "", v1)
	p.Thaw()
	pointer.until(t, "what was published meanwhile", at(v1))
	if s := c.Stats(); s.Reconnects["silent"]+s.Reconnects["unanswered"] == 0 {
		t.Errorf("the connection was lost because of %v", s.Reconnects)
	}
	// What was asked for in vain, and came through in the end, does not stay.
	members := membersOf(t, beside, users)
	members.until(t, "that nobody is there", serve(0))
	eventually(t, func() error {
		if n := c.Stats().Debts; n > 0 {
			return fmt.Errorf("%d nodes are still to be removed", n)
		}
		return nil
	})
	advance(t, beside, blacklist.Pointer(), v1, v3)
}

// TestServerStops, as in a long garbage collection or on a machine out of memory: it is the same as a half-open wire, and when
// it goes on it has everything that it was sent.
func TestServerStops(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	c := open(t, z.Addr, zookeeper.Options{SessionTimeout: 2 * time.Second, MaxBackoff: 20 * time.Millisecond})
	beside := open(t, z.Addr, zookeeper.Options{SessionTimeout: 30 * time.Second, MaxBackoff: 20 * time.Millisecond})
	populate(t, c)
	connected(t, beside)
	must(t, z.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Advance(ctx, blacklist.Pointer(), "", v1, nil)
	refused(t, err, context.DeadlineExceeded, "advance")
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	must(t, z.Resume())
	// Whoever gave up may have been heard or not, but holds nobody up.
	eventually(t, func() error {
		s, err := beside.State(t.Context(), blacklist.Pointer())
		if err != nil {
			return err
		}
		_, err = beside.Advance(t.Context(), blacklist.Pointer(), s.Version, v2, nil)
		return err
	})
}

// TestEnsembleDownAtStart: opening succeeds, a feed says what is the matter, and everything comes when the ensemble does.
func TestEnsembleDownAtStart(t *testing.T) {
	t.Parallel()
	z, err := server.NewZooKeeper(t.TempDir())
	must(t, err)
	server.NeedZooKeeper(t)
	t.Cleanup(z.Kill)
	var seen log
	c := open(t, z.Addr, zookeeper.Options{MaxBackoff: 20 * time.Millisecond, SessionTimeout: 5 * time.Second, Logger: seen.logger()})
	refused(t, c.Err(), registry.ErrUnreachable, "right after opening")
	pointer := watch(t, c, blacklist.Pointer())
	pointer.trouble(t, registry.ErrUnreachable)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.State(ctx, blacklist.Pointer())
	refused(t, err, registry.ErrUnreachable, "state")
	refused(t, err, context.DeadlineExceeded, "state")
	created := make(chan error, 1)
	go func() { created <- c.Create(context.Background(), blacklist.Pointer()) }()

	must(t, z.Start())
	pointer.until(t, "that there is nothing", func(s registry.State) bool { return !s.Exists })
	if err := <-created; err != nil { // unless the server took longer than a session
		refused(t, err, registry.ErrUnreachable, "create")
		must(t, c.Create(t.Context(), blacklist.Pointer()))
	}
	pointer.until(t, "its creation", at(""))
	if n := seen.count("zookeeper not reachable"); n != 1 {
		t.Errorf("logged %d times that it is not reachable:\n%s", n, &seen)
	}
	if n := seen.count("zookeeper connected", "after="); n != 1 {
		t.Errorf("logged %d times that it is connected:\n%s", n, &seen)
	}
}

// TestDNSChanges: the servers have moved, and their names have followed.
func TestDNSChanges(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	_, port, err := net.SplitHostPort(z.Addr)
	must(t, err)
	old := startProxy(t, z.Addr)
	_, oldPort, err := net.SplitHostPort(old.Addr)
	must(t, err)
	var moved atomic.Bool
	o := hasty
	o.Lookup = func(_ context.Context, host string) ([]string, error) {
		switch {
		case host != "zk.example.com":
			return nil, fmt.Errorf("no such host: %s", host)
		case moved.Load():
			return []string{"127.0.0.2", "127.0.0.1"}, nil
		}
		return []string{"127.0.0.3"}, nil
	}
	// The machine at 127.0.0.3 is the proxy, the one at 127.0.0.1 the server, the one at 127.0.0.2 is off.
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(host, port)
		if host == "127.0.0.3" {
			address = net.JoinHostPort("127.0.0.1", oldPort)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c := open(t, "zk.example.com:2181,gone.example.com"+strings.TrimPrefix(servers, z.Addr), o)
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "that it exists", at(""))
	old.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	moved.Store(true)
	connected(t, c)
	advance(t, open(t, servers, hasty), blacklist.Pointer(), "", v1)
	pointer.until(t, "what is published now", at(v1))
	if s := c.Stats(); s.Sessions != 1 || s.Server != "127.0.0.1:2181" {
		t.Errorf("%d sessions, the last at %s", s.Sessions, s.Server)
	}
}

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

// TestMemberIsRemoved: somebody has removed a member's node, as old programs do with those of others. It is made again.
func TestMemberIsRemoved(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	seen := membersOf(t, c, users)
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090", Weight: 7})
	first := seen.until(t, "the member", serve(1))
	conn := raw(t, z.Addr)
	must(t, conn.Delete(strings.TrimPrefix(servers, z.Addr)+string(users.Pointer())+"/"+first.Members[0].Node, -1))
	second := seen.until(t, "the member again", func(m registry.Membership) bool { return len(m.Members) == 1 && m.Order > first.Order })
	if a, b := first.Members[0], second.Members[0]; a.Node != b.Node || b.Weight != 7 {
		t.Errorf("it was %+v, and is %+v", a, b)
	}
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
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: time.Second, MaxBackoff: 20 * time.Millisecond})
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

// TestLeaveWhileAway: a member leaves while there is no connection. It is gone when there is one, and not only with the session.
func TestLeaveWhileAway(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	members := membersOf(t, beside, users)
	leave := join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	members.until(t, "the member", serve(1))
	p.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	leave()
	if n := c.Stats().Debts; n != 1 {
		t.Errorf("%d nodes are to be removed, want one", n)
	}
	p.Open()
	members.until(t, "that nobody is there", serve(0))
}

// TestJoinAgainWhileAway: as before, but the same member comes back before anybody has seen it leave, with something else to say.
func TestJoinAgainWhileAway(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	members := membersOf(t, beside, users)
	m := registry.Member{Endpoint: "10.0.0.1:9090", Node: registry.MemberNode("10.0.0.1:9090")}
	leave := join(t, c, users, m)
	members.until(t, "the member", serve(1))
	p.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	leave()
	m.Weight = 7
	join(t, c, users, m)
	p.Open()
	members.until(t, "what it says now", func(m registry.Membership) bool {
		return once(t, m) && len(m.Members) == 1 && m.Members[0].Weight == 7
	})
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
