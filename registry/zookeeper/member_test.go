package zookeeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// TestSessionExpires: the member comes back in the new session, under its name, and was never there twice.
func TestSessionExpires(t *testing.T) {
	t.Parallel()
	// The session is longer than a machine stalls: it is to expire when the wire is cut, and only then.
	p, c, beside, chroot := behind(t, zookeeper.Options{SessionTimeout: 5 * time.Second, MaxBackoff: 20 * time.Millisecond})
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
