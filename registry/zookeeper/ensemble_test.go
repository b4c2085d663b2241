package zookeeper_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// isFrozen waits until a client has found out that its ensemble is not the one of last time.
func isFrozen(t *testing.T, c *zookeeper.Client) {
	t.Helper()
	eventually(t, func() error {
		err := c.Err()
		if !c.Connected() || !errors.Is(err, zookeeper.ErrEnsemble) || !errors.Is(err, registry.ErrUnreachable) {
			return fmt.Errorf("it is not frozen: %v", err)
		}
		return nil
	})
}

// TestEnsembleFromBackup: the ensemble comes back without what it had last. Nothing old is applied, nothing is written, members are
// looked after; until somebody accepts it, and then what it says counts as new.
func TestEnsembleFromBackup(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	var seen log
	c := open(t, z.Addr, zookeeper.Options{SessionTimeout: 5 * time.Second, MaxBackoff: hasty.MaxBackoff, Logger: seen.logger()})
	connected(t, c)
	populate(t, c)
	advance(t, c, blacklist.Pointer(), "", v1)
	z.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	must(t, z.Save(backup))
	must(t, z.Start())

	pointer, edges := watch(t, c, blacklist.Pointer()), edgesOf(t, c, "web.dep")
	connected(t, c)
	last := advance(t, c, blacklist.Pointer(), v1, v2)
	pointer.until(t, "the last version", at(v2))
	must(t, c.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	edges.until(t, "the edge", func(e registry.Edges) bool { return len(e.Members) == 1 })
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	for i := range 20 { // more changes than a new session and a look make
		must(t, c.Create(t.Context(), registry.Pointer(fmt.Sprintf("/config/more/%d", i))))
	}

	for len(pointer.errs) > 0 { // from before the connection was there
		<-pointer.errs
	}

	z.Stop()
	must(t, z.Restore(backup))
	must(t, z.Start())
	isFrozen(t, c)
	_, err := c.Advance(t.Context(), blacklist.Pointer(), v1, v3, nil)
	refused(t, err, zookeeper.ErrEnsemble, "advance")
	_, err = c.State(t.Context(), blacklist.Pointer())
	refused(t, err, zookeeper.ErrEnsemble, "state")
	watch(t, c, blacklist.Metaconfig()).trouble(t, zookeeper.ErrEnsemble)
	other := open(t, z.Addr, hasty)
	membersOf(t, other, users).until(t, "the member, which is registered nevertheless", serve(1))
	if !c.Stats().Frozen || seen.count("level=ERROR", "zookeeper frozen") == 0 {
		t.Errorf("nobody was told: %+v\n%s", c.Stats(), &seen)
	}

	// That it has had as many changes again does not make them the same.
	for i := range 40 {
		must(t, other.Create(t.Context(), registry.Pointer(fmt.Sprintf("/config/others/%d", i))))
	}
	z.Stop()
	must(t, z.Start())
	isFrozen(t, c)
	select {
	case s := <-pointer.values:
		t.Errorf("while it was frozen the feed yielded %+v", s)
	case err := <-pointer.errs:
		t.Errorf("while it was frozen the feed yielded %v", err)
	default:
	}

	for len(c.Judged()) > 0 {
		<-c.Judged()
	}
	must(t, c.Accept(t.Context()))
	<-c.Judged() // it has another offset now
	s := pointer.until(t, "what the ensemble says", at(v1))
	if s.Order <= last.Order {
		t.Errorf("its order is %d, and before it was %d", s.Order, last.Order)
	}
	edges.until(t, "no edge", func(e registry.Edges) bool { return e.Exists && len(e.Members) == 0 })
	advance(t, c, blacklist.Pointer(), v1, v3)
	pointer.until(t, "the next version", at(v3))
	must(t, c.Accept(t.Context())) // there is nothing to accept

	// The next client of this machine knows what this one has learnt.
	next := open(t, z.Addr, zookeeper.Options{MaxBackoff: hasty.MaxBackoff, Seen: c.Ensemble()})
	if again := watch(t, next, blacklist.Pointer()).until(t, "the same", at(v3)); again.Order <= s.Order {
		t.Errorf("for the next client its order is %d, and for this it was %d", again.Order, s.Order)
	}
}

// TestAnotherEnsemble: a name that leads to the wrong ensemble for a while. Nothing of it is applied, nobody is registered there,
// and when the name leads to the right one again all is as it was.
func TestAnotherEnsemble(t *testing.T) {
	t.Parallel()
	here, elsewhere := server.StartZooKeeper(t), server.StartZooKeeper(t)
	there := open(t, elsewhere.Addr, hasty)
	for i := range 100 { // it is further than ours
		must(t, there.Create(t.Context(), registry.Pointer(fmt.Sprintf("/config/elsewhere/%d", i))))
	}
	populate(t, there)
	advance(t, there, blacklist.Pointer(), "", v3)

	p := startProxy(t, here.Addr)
	c := open(t, p.Addr, zookeeper.Options{SessionTimeout: time.Minute, MaxBackoff: hasty.MaxBackoff})
	connected(t, c)
	populate(t, c)
	advance(t, c, blacklist.Pointer(), "", v1)
	pointer := watch(t, c, blacklist.Pointer())
	pointer.until(t, "its version", at(v1))
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090"})
	eventually(t, func() error {
		if c.Ensemble().Root == "" {
			return errors.New("it does not know its ensemble")
		}
		return nil
	})
	known := c.Ensemble()

	p.To(elsewhere.Addr)
	p.Cut()
	isFrozen(t, c)
	refused(t, c.Create(t.Context(), greylist.Pointer()), zookeeper.ErrEnsemble, "create")
	must(t, open(t, here.Addr, hasty).Delete(t.Context(), blacklist.Metaconfig()))
	// A client that has just been started knows it too, if it is told.
	late := open(t, elsewhere.Addr, zookeeper.Options{MaxBackoff: hasty.MaxBackoff, Seen: known})
	isFrozen(t, late)
	if m := membersOf(t, there, users).until(t, "nobody", func(m registry.Membership) bool { return m.Exists }); len(m.Members) != 0 {
		t.Errorf("registered there: %+v", m)
	}

	p.To(here.Addr)
	p.Cut()
	connected(t, c)
	advance(t, c, blacklist.Pointer(), v1, v2)
	pointer.until(t, "the next version", at(v2))
	ours(t, c, raw(t, here.Addr), string(users.Pointer()))
}

// ours waits until a serverset has one member, of the client's present session.
func ours(t *testing.T, c *zookeeper.Client, conn *zk.Conn, path string) {
	t.Helper()
	eventually(t, func() error {
		children, _, err := conn.Children(path)
		if err != nil || len(children) != 1 {
			return fmt.Errorf("the members are %q, %v", children, err)
		}
		_, stat, err := conn.Get(path + "/" + children[0])
		if err == nil && fmt.Sprintf("0x%x", uint64(stat.EphemeralOwner)) != c.Stats().Session {
			err = fmt.Errorf("it is of session 0x%x, and ours is %s", uint64(stat.EphemeralOwner), c.Stats().Session)
		}
		return err
	})
}

// TestEnsembleWiped: the servers come back with empty disks, and do not become the truth. What is made there anew is, once somebody
// says so.
func TestEnsembleWiped(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	c := open(t, z.Addr, zookeeper.Options{SessionTimeout: 5 * time.Second, MaxBackoff: hasty.MaxBackoff})
	connected(t, c)
	populate(t, c)
	pointer := watch(t, c, blacklist.Pointer())
	first := advance(t, c, blacklist.Pointer(), "", v1)
	pointer.until(t, "its version", at(v1))
	z.Stop()
	must(t, z.Wipe())
	must(t, z.Start())
	isFrozen(t, c)
	must(t, c.Accept(t.Context()))
	pointer.until(t, "that there is nothing", func(s registry.State) bool { return !s.Exists })
	connected(t, c)
	populate(t, c)
	second := advance(t, c, blacklist.Pointer(), "", v2)
	if second.Order <= first.Order {
		t.Errorf("order %d after %d", second.Order, first.Order)
	}
	pointer.until(t, "the new version", at(v2))
	z.Stop()
	must(t, z.Start())
	connected(t, c) // the new one is the one of last time now
}

// TestEnsembleFromBackupHasMovedOn: while a client was away the ensemble was restored, and has had more changes since than it has lost.
// Whoever follows what was lost finds out; whoever does not hears of what is new, though that has numbers that he knows.
func TestEnsembleFromBackupHasMovedOn(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	p := startProxy(t, z.Addr)
	setup := open(t, z.Addr, hasty)
	populate(t, setup)
	must(t, setup.Create(t.Context(), greylist.Pointer()))
	advance(t, setup, blacklist.Pointer(), "", v1)
	advance(t, setup, greylist.Pointer(), "", v1)
	must(t, setup.Close())
	z.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	must(t, z.Save(backup))
	must(t, z.Start())

	touched, untouched := open(t, p.Addr, hasty), open(t, p.Addr, hasty)
	black, grey := watch(t, touched, blacklist.Pointer()), watch(t, untouched, greylist.Pointer())
	black.until(t, "its version", at(v1))
	grey.until(t, "its version", at(v1))
	for i := range 20 {
		must(t, untouched.Create(t.Context(), registry.Pointer(fmt.Sprintf("/config/lost/%d", i))))
	}
	advance(t, touched, blacklist.Pointer(), v1, v2)
	black.until(t, "the version that will be lost", at(v2))
	known := touched.Ensemble()
	p.Shut()
	z.Stop()
	must(t, z.Restore(backup))
	must(t, z.Start())
	other := open(t, z.Addr, hasty)
	advance(t, other, greylist.Pointer(), v1, v3)
	for i := range 60 {
		must(t, other.Create(t.Context(), registry.Pointer(fmt.Sprintf("/config/new/%d", i))))
	}
	p.Open()
	isFrozen(t, touched)
	if err := touched.Err(); !strings.Contains(err.Error(), string(blacklist.Pointer())) {
		t.Errorf("it does not say what was lost: %v", err)
	}
	grey.until(t, "what is new", at(v3))
	must(t, untouched.Err())
	late := open(t, z.Addr, zookeeper.Options{MaxBackoff: hasty.MaxBackoff, Seen: known})
	isFrozen(t, late)
	must(t, late.Accept(t.Context()))
	watch(t, late, blacklist.Pointer()).until(t, "what the ensemble says", at(v1))
}
