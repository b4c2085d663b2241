package registrytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var memberTests = map[string]func(t *testing.T, a, b Registry){
	"a member joins and leaves":                     testMemberLife,
	"what a member says of itself is kept":          testMemberSays,
	"one endpoint may be registered twice":          testMemberTwice,
	"a node is registered once":                     testMemberNode,
	"a serverset that does not exist has nobody":    testMemberMissing,
	"a serverset is not removed under its members":  testMemberRemove,
	"six members join at once and all are there":    testMemberCrowd,
	"members that old readers could not read":       testMemberInvalid,
	"members of one serverset are not of another":   testMemberApart,
	"coming and going does not advance the pointer": testMemberPointer,
}

// joining is a member that somebody has registered.
type joining struct {
	leave context.CancelFunc
	done  chan error
}

func join(t *testing.T, r Registry, n registry.Name, m registry.Member) *joining {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	j := &joining{leave: cancel, done: make(chan error, 1)}
	go func() { j.done <- r.Join(ctx, n, m) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-j.done:
		case <-time.After(patience):
			t.Errorf("%s does not leave %s", m.Endpoint, n)
		}
	})
	return j
}

// left cancels the registration and waits for it.
func (j *joining) left(t *testing.T) {
	t.Helper()
	j.leave()
	select {
	case err := <-j.done:
		j.done <- nil // for the cleanup
		if err != nil {
			t.Errorf("leaving: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a member does not leave")
	}
}

// joinRefused is the error of a registration that must not succeed.
func joinRefused(t *testing.T, r Registry, n registry.Name, m registry.Member, want error, step string) {
	t.Helper()
	j := join(t, r, n, m)
	select {
	case err := <-j.done:
		j.done <- nil
		refused(t, err, want, step)
	case <-time.After(patience):
		t.Errorf("%s: still there after %v, want %v", step, patience, want)
	}
}

// serve says who is expected: endpoints, as often as they are registered.
func serve(want ...registry.Endpoint) func(registry.Membership) bool {
	slices.Sort(want)
	return func(m registry.Membership) bool {
		var got []registry.Endpoint
		for _, member := range m.Members {
			got = append(got, member.Endpoint)
		}
		slices.Sort(got)
		return m.Exists && slices.Equal(got, want)
	}
}

func testMemberLife(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	feed := members(t, b, users)
	empty := feed.until(t, "an empty serverset", serve())
	one := join(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	first := feed.until(t, "the first", serve("10.0.0.1:9090"))
	two := join(t, b, users, registry.Member{Endpoint: "[2001:db8::2]:9090"})
	both := feed.until(t, "both", serve("10.0.0.1:9090", "[2001:db8::2]:9090"))
	one.left(t)
	second := feed.until(t, "the second alone", serve("[2001:db8::2]:9090"))
	two.left(t)
	gone := feed.until(t, "an empty serverset again", serve())
	for i, m := range []registry.Membership{first, both, second, gone} {
		before := []registry.Membership{empty, first, both, second}[i]
		if m.Order <= before.Order {
			t.Errorf("from %+v to %+v the order has not grown", before, m)
		}
	}
}

func testMemberSays(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	said := registry.Member{
		Endpoint: "web-1.example.com:443",
		Node:     registry.MemberNode("web-1.example.com:443"),
		Weight:   300,
		Labels:   map[string]string{"zone": "eu-west-1a", "team": "Überraschung \"李\"", "empty": ""},
	}
	given := said
	given.Labels = maps.Clone(said.Labels)
	join(t, a, users, given)
	m := members(t, b, users).until(t, "the member", serve(said.Endpoint)).Members[0]
	if m.Node != said.Node || m.Weight != said.Weight || !maps.Equal(m.Labels, said.Labels) {
		t.Errorf("the member is %+v, and it said %+v", m, said)
	}
	if m.Since.IsZero() {
		t.Error("nobody knows since when")
	}
}

func testMemberTwice(t *testing.T, a, b Registry) {
	const endpoint = registry.Endpoint("10.0.0.1:9090")
	create(t, a, b, users.Pointer())
	feed := members(t, b, users)
	one := join(t, a, users, registry.Member{Endpoint: endpoint})
	feed.until(t, "one registration", serve(endpoint))
	two := join(t, b, users, registry.Member{Endpoint: endpoint})
	both := feed.until(t, "two registrations", serve(endpoint, endpoint))
	if both.Members[0].Node == both.Members[1].Node {
		t.Errorf("two registrations share the node %s", both.Members[0].Node)
	}
	one.left(t)
	feed.until(t, "one registration again", serve(endpoint))
	two.left(t)
	feed.until(t, "none", serve())
}

func testMemberNode(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	m := registry.Member{Endpoint: "10.0.0.1:9090", Node: registry.MemberNode("10.0.0.1:9090")}
	feed := members(t, b, users)
	j := join(t, a, users, m)
	feed.until(t, "the member", serve(m.Endpoint))
	joinRefused(t, a, users, m, registry.ErrExist, "register the same node again")
	joinRefused(t, b, users, m, registry.ErrExist, "register the same node again from elsewhere")
	j.left(t)
	feed.until(t, "none", serve())
	join(t, b, users, m)
	feed.until(t, "the node again", serve(m.Endpoint))
}

func testMemberMissing(t *testing.T, a, b Registry) {
	joinRefused(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"}, registry.ErrNotExist, "join what does not exist")
	feed := members(t, b, users)
	if m := feed.next(t); m.Exists || len(m.Members) != 0 {
		t.Errorf("a serverset that does not exist is %+v", m)
	}
	must(t, a.Create(t.Context(), users.Pointer()))
	feed.until(t, "its creation", serve())
	j := join(t, b, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	feed.until(t, "a member", serve("10.0.0.1:9090"))
	j.left(t)
	feed.until(t, "none", serve())
	must(t, a.Delete(t.Context(), users.Pointer()))
	feed.until(t, "its removal", func(m registry.Membership) bool { return !m.Exists && len(m.Members) == 0 })
	must(t, a.Create(t.Context(), users.Pointer()))
	feed.until(t, "its second life", serve())
}

func testMemberRemove(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	feed := members(t, b, users)
	join(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	feed.until(t, "the member", serve("10.0.0.1:9090"))
	refused(t, b.Delete(t.Context(), users.Pointer()), registry.ErrNotEmpty, "remove a serverset with a member")
}

func testMemberCrowd(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	feed := members(t, b, users)
	var everybody []registry.Endpoint
	var crowd []*joining
	for i := range 6 {
		e := registry.Endpoint(fmt.Sprintf("10.0.0.%d:9090", i+1))
		everybody = append(everybody, e)
		crowd = append(crowd, join(t, []Registry{a, b}[i%2], users, registry.Member{Endpoint: e}))
	}
	feed.until(t, "all six", serve(everybody...))
	for _, j := range crowd {
		j.leave()
	}
	feed.until(t, "none", serve())
	for _, j := range crowd {
		j.left(t)
	}
}

func testMemberInvalid(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	for _, m := range []registry.Member{
		{},
		{Endpoint: "10.0.0.1"},
		{Endpoint: "10.0.0.1:0"},
		{Endpoint: "10.0.0.1:9090\n10.0.0.2:9090"},
		{Endpoint: "10.0.0.1:9090", Weight: -1},
		{Endpoint: "10.0.0.1:9090", Labels: map[string]string{"a b": "c"}},
		{Endpoint: "10.0.0.1:9090", Node: registry.MemberNode("10.0.0.2:9090")},
		{Endpoint: "10.0.0.1:9090", Node: "../" + registry.MemberNode("10.0.0.1:9090")},
	} {
		joinRefused(t, a, users, m, registry.ErrInvalid, fmt.Sprintf("join as %+v", m))
	}
	if m := members(t, a, users).next(t); len(m.Members) != 0 {
		t.Errorf("who was refused is there: %+v", m)
	}
}

func testMemberApart(t *testing.T, a, b Registry) {
	const other registry.Name = "discovery.user.dev"
	create(t, a, b, users.Pointer())
	create(t, a, b, other.Pointer())
	join(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	join(t, a, other, registry.Member{Endpoint: "10.0.0.2:9090"})
	members(t, b, users).until(t, "its own member", serve("10.0.0.1:9090"))
	members(t, b, other).until(t, "its own member", serve("10.0.0.2:9090"))
}

func testMemberPointer(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	pointer := watch(t, a, users.Pointer())
	before := pointer.next(t)
	feed := members(t, a, users)
	j := join(t, a, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	feed.until(t, "the member", serve("10.0.0.1:9090"))
	j.left(t)
	feed.until(t, "nobody", serve())
	want := advance(t, a, users.Pointer(), "", v1)
	if got := pointer.next(t); got != want {
		t.Errorf("after %+v the pointer's feed yields %+v, want %+v", before, got, want)
	}
}
