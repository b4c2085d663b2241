package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// TestHalfOpen: the wire takes everything and gives nothing. Every call ends with its ctx, and the client finds out.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: 2 * time.Second, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "that it exists", at(""))
	p.Freeze()
	leave := join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	eventually(t, func() error {
		if c.Stats().Members == 0 {
			return errors.New("nobody is about to join")
		}
		return nil
	})
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
	leave()
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
	go func() { created <- c.Create(context.Background(), greylist.Pointer()) }()

	must(t, z.Start())
	pointer.until(t, "that there is nothing", func(s registry.State) bool { return !s.Exists })
	if err := <-created; err != nil { // unless the server took longer than a session
		refused(t, err, registry.ErrUnreachable, "create")
	}
	must(t, c.Create(t.Context(), blacklist.Pointer()))
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
