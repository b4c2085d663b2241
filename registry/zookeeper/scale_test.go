package zookeeper_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// soak is n, or a few if there is no time.
func soak(n, few int) int {
	if os.Getenv("KINGPIN_SOAK") != "" {
		return n
	}
	return few
}

// watches is how many the server holds, over all connections.
func watches(t *testing.T, z *server.ZooKeeper) int {
	t.Helper()
	said, err := z.Command("wchs")
	must(t, err)
	_, total, _ := strings.Cut(said, "Total watches:")
	n, err := strconv.Atoi(strings.TrimSpace(total))
	must(t, err)
	return n
}

// TestReconnectsLeakNothing: after a thousand lost connections (a few, unless KINGPIN_SOAK is set) there are as many goroutines and
// watches as after one, whatever was going on when they were lost.
func TestReconnectsLeakNothing(t *testing.T) {
	z := server.StartZooKeeper(t)
	p := startProxy(t, z.Addr)
	beside := open(t, z.Addr, hasty)
	populate(t, beside)
	c := open(t, p.Addr, zookeeper.Options{MaxBackoff: 2 * time.Millisecond})
	const feeds = 50
	var quiet []*follower[registry.State]
	for i := range feeds {
		quiet = append(quiet, watch(t, c, registry.Pointer(fmt.Sprintf("/config/quiet/%d", i%25))))
	}
	for _, f := range quiet {
		f.until(t, "that there is nothing", func(s registry.State) bool { return !s.Exists })
	}
	pointer := watch(t, c, blacklist.Pointer())
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	membersOf(t, beside, users).until(t, "the member", serve(1))

	settled := func() (goroutines, held int) {
		eventually(t, func() error {
			goroutines, held = runtime.NumGoroutine(), watches(t, z)
			s := c.Stats()
			if c.Err() != nil || s.Watches != s.Nodes || s.Debts > 0 {
				return fmt.Errorf("not settled: %+v", s)
			}
			return nil
		})
		return goroutines, held
	}
	var base registry.Version
	bounce := func(i int) {
		was := c.Stats().Connections
		if i%3 == 0 { // in the middle of a publish, which will succeed
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			next := registry.Version(fmt.Sprintf("1795296200.%09d", i))
			var busy sync.WaitGroup
			busy.Go(func() {
				if _, err := c.Advance(ctx, blacklist.Pointer(), base, next, nil); err != nil {
					t.Errorf("advance: %v", err)
				}
			})
			defer func() {
				busy.Wait()
				base = next
			}()
		}
		p.Cut()
		eventually(t, func() error {
			if c.Stats().Connections == was {
				return fmt.Errorf("still on connection %d", was)
			}
			return c.Err()
		})
	}
	for i := range 10 {
		bounce(i)
	}
	eventually(t, func() error { // go-zookeeper takes a second to leave
		before, _ := settled()
		if before > 400 {
			return fmt.Errorf("%d goroutines", before)
		}
		return nil
	})
	goroutines, held := settled()
	for i := range soak(1000, 40) {
		bounce(10 + i)
	}
	eventually(t, func() error {
		now, watched := settled()
		if now > goroutines+5 || watched > held {
			return fmt.Errorf("%d goroutines and %d watches, after ten connections it was %d and %d", now, watched, goroutines, held)
		}
		return nil
	})
	pointer.until(t, "the last version", at(base))
	if s := c.Stats(); s.Sessions != 1 || s.Nodes != 25+2 {
		t.Errorf("%d sessions, %d nodes", s.Sessions, s.Nodes)
	}
}

// TestFeedsThatComeAndGo leave one watch a node behind, and that only until the connection changes.
func TestFeedsThatComeAndGo(t *testing.T) {
	t.Parallel()
	p, c, beside, _ := behind(t, hasty)
	populate(t, beside)
	for range 100 {
		for s, err := range c.Watch(t.Context(), blacklist.Pointer()) {
			if err == nil && s.Exists {
				break
			}
		}
		for e, err := range c.Dependency(t.Context(), "web.dep") {
			if err == nil && e.Exists {
				break
			}
		}
	}
	if s := c.Stats(); s.Feeds != 0 || s.Nodes != 2 || s.Reads > 10 {
		t.Errorf("%d feeds on %d nodes, which were read %d times", s.Feeds, s.Nodes, s.Reads)
	}
	was := c.Stats().Connections
	p.Cut()
	eventually(t, func() error {
		if s := c.Stats(); s.Connections == was || s.Nodes != 0 {
			return fmt.Errorf("%d nodes on connection %d", s.Nodes, s.Connections)
		}
		return nil
	})
}

// TestLargeAnswer: a dependency whose list is larger than what a connection takes at first. The connection is replaced by one that
// has room, in the same session.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	c := open(t, servers, hasty)
	populate(t, c)
	conn, path := raw(t, z.Addr), strings.TrimPrefix(servers, z.Addr)+string(registry.Dependency("web.dep").Pointer())
	const n = 3000
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := w; i < n; i += 16 {
				child := fmt.Sprintf("%s/config.manageddata.%s.key%d", path, strings.Repeat("x", 40), i)
				if _, err := conn.Create(child, nil, 0, everybody); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	edges := edgesOf(t, c, "web.dep")
	edges.until(t, "all edges", func(e registry.Edges) bool { return len(e.Members) == n })
	if s := c.Stats(); s.Reconnects["too-large"] != 1 || s.Sessions != 1 {
		t.Errorf("reconnects %v, %d sessions", s.Reconnects, s.Sessions)
	}
}

// TestOddChildren: what does not belong among members and edges is left out, logged once, and counted.
func TestOddChildren(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	var seen log
	o := hasty
	o.Logger = seen.logger()
	c := open(t, servers, o)
	populate(t, c)
	conn, chroot := raw(t, z.Addr), strings.TrimPrefix(servers, z.Addr)
	dep, set := chroot+string(registry.Dependency("web.dep").Pointer()), chroot+string(users.Pointer())
	create := func(path, data string) {
		t.Helper()
		_, err := conn.Create(path, []byte(data), 0, everybody)
		must(t, err)
	}
	create(dep+"/NOTES", "")
	create(dep+"/"+string(blacklist), "")
	create(set+"/README", "who reads this?")
	create(set+"/63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090", "nonsense")
	create(set+"/63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.2:9090'; touch x #", "")
	edges, members := edgesOf(t, c, "web.dep"), membersOf(t, c, users)
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 && e.Members[0] == registry.Edge(blacklist) })
	m := members.until(t, "the member", serve(1))
	if m.Members[0].Endpoint != "10.0.0.1:9090" || m.Members[0].Since.IsZero() {
		t.Errorf("the member is %+v", m.Members[0])
	}
	create(dep+"/base.dep", "")
	create(set+"/73c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.3:9090", "10.0.0.3:9090")
	edges.until(t, "both edges", func(e registry.Edges) bool { return len(e.Members) == 2 })
	members.until(t, "both members", serve(2))
	if n := seen.count("ignored"); n != 3 || c.Stats().Ignored != 3 {
		t.Errorf("logged %d, counted %d, want three:\n%s", n, c.Stats().Ignored, &seen)
	}
}

// TestMemberChangesWhileItIsRead: it says something else just between the list of the members and the look at what it says. It was never
// gone, and nobody hears that it was.
func TestMemberChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, hasty)
	populate(t, beside)
	connected(t, c)
	z, err := shared()
	must(t, err)
	conn, parent := raw(t, z.Addr), chroot+string(users.Pointer())
	const one, other = "/63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090", "/73c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090"
	_, err = conn.Create(parent+one, []byte("10.0.0.1:9090"), 0, everybody)
	must(t, err)
	seen := p.Once(opGet, pass, func() {
		_, err := conn.Multi(&zk.DeleteRequest{Path: parent + one, Version: -1},
			&zk.CreateRequest{Path: parent + other, Data: []byte("10.0.0.1:9090\n{\"weight\":7}"), Acl: everybody})
		if err != nil {
			t.Error(err)
		}
	})
	membersOf(t, c, users).until(t, "what it says now", func(m registry.Membership) bool {
		if len(m.Members) != 1 {
			t.Errorf("there are %d members: %+v", len(m.Members), m)
		}
		return len(m.Members) == 1 && m.Members[0].Weight == 7
	})
	if seen() == 0 {
		t.Error("nothing was read, so this proves nothing")
	}
}

// TestMembersChurn: a node that has left and come back between two looks says what it says now.
func TestMembersChurn(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	p := startProxy(t, z.Addr)
	chroot := strings.TrimPrefix(servers, z.Addr)
	c := open(t, p.Addr+chroot, hasty)
	populate(t, c)
	conn, node := raw(t, z.Addr), chroot+string(users.Pointer())+"/63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090"
	_, err := conn.Create(node, []byte("10.0.0.1:9090"), 0, everybody)
	must(t, err)
	members := membersOf(t, c, users)
	members.until(t, "the member", serve(1))
	p.Shut()
	must(t, conn.Delete(node, -1))
	_, err = conn.Create(node, []byte("10.0.0.1:9090\n{\"weight\":7}"), 0, everybody)
	must(t, err)
	p.Open()
	members.until(t, "what it says now", func(m registry.Membership) bool { return len(m.Members) == 1 && m.Members[0].Weight == 7 })
}

// BenchmarkFeeds prints what ten thousand feeds of as many names cost: memory here, and the time until all have their first state, and
// until all are watched again after a lost connection.
func BenchmarkFeeds(b *testing.B) {
	const n = 10000 // goroutines, which are the consumers', are not counted in B/feed
	z := server.StartZooKeeper(b)
	p := startProxy(b, z.Addr)
	setup := open(b, z.Addr, hasty)
	var all sync.WaitGroup
	name := func(i int) registry.Pointer {
		return registry.Pointer(fmt.Sprintf("/config/manageddata/many/key%05d", i))
	}
	for w := range 16 {
		all.Go(func() {
			for i := w; i < n; i += 16 {
				if err := setup.Create(b.Context(), name(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	for b.Loop() {
		heap := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		c := open(b, p.Addr, hasty)
		connected(b, c)
		ctx, cancel := context.WithCancel(b.Context())
		before, goroutines := heap(), runtime.NumGoroutine()
		started := time.Now()
		var feeds, first sync.WaitGroup
		first.Add(n)
		for i := range n {
			feeds.Go(func() {
				known := false
				for _, err := range c.Watch(ctx, name(i)) {
					if err == nil && !known {
						known = true
						first.Done()
					}
				}
			})
		}
		first.Wait()
		b.ReportMetric(float64(time.Since(started).Milliseconds()), "ms/first")
		after, more := heap(), runtime.NumGoroutine()-goroutines
		b.ReportMetric(float64(after-before)/n, "B/feed")
		b.ReportMetric(float64(more)/n, "goroutines/feed") // one is the consumer's
		was, cut := c.Stats().Connections, time.Now()
		p.Cut()
		eventually(b, func() error {
			if s := c.Stats(); s.Connections == was || s.Watches != n {
				return fmt.Errorf("%d watches on connection %d", s.Watches, s.Connections)
			}
			return nil
		})
		b.ReportMetric(float64(time.Since(cut).Milliseconds()), "ms/again")
		cancel()
		feeds.Wait()
	}
}
