package registrytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var keepTests = map[string]func(t *testing.T, a, b Registry){
	"a member that says something else is never gone": testKeepChange,
	"who is kept hears how he stands":                 testKeepTold,
	"a change that cannot be leaves what was there":   testKeepInvalid,
	"a former life that is over leaves no trace":      testKeepFormer,
}

// keeping is a registration that somebody keeps.
type keeping struct {
	*joining
	wanted chan registry.Member
	told   chan told
}

type told struct {
	node string
	err  error
}

func keep(t *testing.T, r Registry, n registry.Name, former string) *keeping {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeping{
		joining: &joining{leave: cancel, done: make(chan error, 1)},
		wanted:  make(chan registry.Member, 1),
		told:    make(chan told, 1000),
	}
	go func() {
		k.done <- r.Keep(ctx, n, registry.Keeping{Wanted: k.wanted, Former: former, Told: func(node string, err error) { k.told <- told{node, err} }})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-k.done:
		case <-time.After(patience):
			t.Errorf("who was kept in %s does not leave", n)
		}
	})
	return k
}

// next is what is told next; an unreachable registry is none of the tests' business.
func (k *keeping) next(t *testing.T) told {
	t.Helper()
	for {
		select {
		case said := <-k.told:
			if !errors.Is(said.err, registry.ErrUnreachable) {
				return said
			}
		case err := <-k.done:
			k.done <- nil
			t.Fatalf("it was not kept: %v", err)
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
	}
}

// weighs says who is expected: one member of that weight.
func weighs(weight int) func(registry.Membership) bool {
	return func(m registry.Membership) bool { return len(m.Members) == 1 && m.Members[0].Weight == weight }
}

func testKeepChange(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	const endpoint = registry.Endpoint("10.0.0.1:9090")
	k := keep(t, a, users, "")
	k.wanted <- registry.Member{Endpoint: endpoint, Weight: 1}
	feed := members(t, b, users)
	feed.until(t, "the member", weighs(1))
	for weight := 2; weight < 30; weight++ {
		k.wanted <- registry.Member{Endpoint: endpoint, Weight: weight, Labels: map[string]string{"round": fmt.Sprint(weight)}}
		feed.until(t, "what it says now", func(m registry.Membership) bool {
			if len(m.Members) != 1 {
				t.Fatalf("there are %d members: %+v", len(m.Members), m.Members)
			}
			return m.Members[0].Weight == weight && m.Members[0].Labels["round"] == fmt.Sprint(weight)
		})
	}
	k.left(t)
	feed.until(t, "nobody", serve())
}

func testKeepTold(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	k := keep(t, a, users, "")
	var nodes []string
	for weight := range 3 {
		k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: weight}
		said := k.next(t)
		must(t, said.err)
		m := members(t, a, users).until(t, "what was told", weighs(weight))
		if m.Members[0].Node != said.node {
			t.Errorf("told of node %s, and it is %s", said.node, m.Members[0].Node)
		}
		nodes = append(nodes, said.node)
	}
	if nodes[0] == nodes[1] || nodes[1] == nodes[2] {
		t.Errorf("what a node says does not change, and these are %q", nodes)
	}
	refusedKeep := keep(t, b, "discovery.nobody.prod", "")
	refusedKeep.wanted <- registry.Member{Endpoint: "10.0.0.1:9090"}
	select {
	case err := <-refusedKeep.done:
		refusedKeep.done <- nil
		refused(t, err, registry.ErrNotExist, "keep in a serverset that does not exist")
	case <-time.After(patience):
		t.Error("who cannot be kept is not told")
	}
}

func testKeepInvalid(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	k := keep(t, a, users, "")
	k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: 5}
	must(t, k.next(t).err)
	k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: -1}
	refused(t, k.next(t).err, registry.ErrInvalid, "change the weight to what is none")
	k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: 6}
	must(t, k.next(t).err)
	members(t, b, users).until(t, "what it says now", weighs(6))
}

func testKeepFormer(t *testing.T, a, b Registry) {
	create(t, a, b, users.Pointer())
	k := keep(t, a, users, registry.MemberNode("10.0.0.1:9090"))
	k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: 1}
	must(t, k.next(t).err)
	members(t, b, users).until(t, "the member", weighs(1))
}
