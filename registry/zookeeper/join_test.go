package zookeeper_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// kept is a member that is kept until leave.
type kept struct {
	wanted chan registry.Member
	leave  func()

	mu   sync.Mutex
	node string // the last that was told of
	err  error
}

func keep(t testing.TB, c *zookeeper.Client, former string) *kept {
	t.Helper()
	k := &kept{wanted: make(chan registry.Member, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		err := c.Keep(ctx, users, registry.Keeping{Wanted: k.wanted, Former: former, Told: func(node string, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.node, k.err = node, err
		}})
		if err != nil {
			t.Errorf("keep: %v", err)
		}
	})
	k.leave = func() { cancel(); running.Wait() }
	t.Cleanup(k.leave)
	return k
}

func (k *kept) says(weight int) {
	k.wanted <- registry.Member{Endpoint: "10.0.0.1:9090", Weight: weight}
}

// told is the node that it was told of. Others may see the member before that.
func (k *kept) told(t testing.TB) (node string) {
	t.Helper()
	eventually(t, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if node = k.node; node == "" || k.err != nil {
			return fmt.Errorf("told of %q, %v", node, k.err)
		}
		return nil
	})
	return node
}

// always checks that there is never anybody but one member, and waits for its weight.
func always(t *testing.T, weight int) func(registry.Membership) bool {
	return func(m registry.Membership) bool {
		t.Helper()
		if len(m.Members) != 1 {
			t.Errorf("there are %d members: %+v", len(m.Members), m.Members)
		}
		return len(m.Members) == 1 && m.Members[0].Weight == weight
	}
}

// TestNextProcessTakesOver: the process is killed, its session lives on for a minute, and the next one registers the same. There is
// one member all the time.
func TestNextProcessTakesOver(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	members := membersOf(t, beside, users)
	before := keep(t, c, "")
	before.says(1)
	members.until(t, "the member", serve(1))
	former := before.told(t)
	p.Freeze() // it is not heard of any more
	after := keep(t, beside, former)
	after.says(2)
	members.until(t, "that of the next process", always(t, 2))
	if node, want := onlyMember(t, chroot), after.told(t); !strings.HasPrefix(node, want) {
		t.Errorf("the member is %s, want %s", node, want)
	}
}

// TestBequeath: an orderly end does not take out what the next process takes over.
func TestBequeath(t *testing.T) {
	t.Parallel()
	_, c, beside, _ := behind(t, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: 20 * time.Millisecond})
	populate(t, beside)
	members := membersOf(t, beside, users)
	before := keep(t, c, "")
	before.says(1)
	members.until(t, "the member", serve(1))
	former := before.told(t)
	c.Bequeath()
	before.leave()
	must(t, c.Close())
	after := keep(t, beside, former)
	after.says(2)
	members.until(t, "that of the next process", always(t, 2))
	after.leave()
	members.until(t, "that nobody is there", serve(0))
}

// TestChangeWhileAway: a member says something else while the wire is cut, and while its session is gone. There is one member
// in the end, and it says what it said last.
func TestChangeWhileAway(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, hasty)
	populate(t, beside)
	members := membersOf(t, beside, users)
	k := keep(t, c, "")
	k.says(1)
	members.until(t, "the member", serve(1))
	for round := range 6 {
		p.Shut()
		eventually(t, func() error { return unlessUnreachable(c.Err()) })
		k.says(10 + round)
		if round%2 == 1 {
			c.ForgetSession()
		}
		p.Open()
		members.until(t, "what it says now", func(m registry.Membership) bool {
			return len(m.Members) == 1 && m.Members[0].Weight == 10+round
		})
		onlyMember(t, chroot)
	}
	p.Shut()
	eventually(t, func() error { return unlessUnreachable(c.Err()) })
	k.says(99)
	eventually(t, func() error {
		if len(k.wanted) > 0 {
			return fmt.Errorf("nobody has heard it")
		}
		return nil
	})
	k.leave() // between the two nodes
	p.Open()
	members.until(t, "that nobody is there", serve(0))
}

// TestThousandJoins: a thousand members come at once, and all are there; then all go.
func TestThousandJoins(t *testing.T) {
	t.Parallel()
	_, servers := ensemble(t)
	c, beside := open(t, servers, hasty), open(t, servers, hasty)
	populate(t, c)
	members := membersOf(t, beside, users)
	members.until(t, "that nobody is there", serve(0))
	const many = 1000
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	started := time.Now()
	for i := range many {
		running.Go(func() {
			if err := c.Join(ctx, users, registry.Member{Endpoint: registry.Endpoint(fmt.Sprintf("10.0.%d.%d:9090", i/250, i%250))}); err != nil {
				t.Errorf("join: %v", err)
			}
		})
	}
	members.until(t, "all of them", serve(many))
	t.Logf("%d members were there after %v, seen in %d reads", many, time.Since(started), beside.Stats().Reads)
	cancel()
	running.Wait()
	members.until(t, "that nobody is there", serve(0))
	eventually(t, func() error { // a removal whose answer took too long is a debt until it is asked about once more
		if s := c.Stats(); s.Members != 0 || s.Debts != 0 {
			return fmt.Errorf("%d members and %d debts are left", s.Members, s.Debts)
		}
		return nil
	})
}
