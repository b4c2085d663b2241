package zookeeper_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// The requests of one publish, in their order.
var publishing = []struct {
	name string
	op   int32
}{
	{"look", opGet},
	{"take a place in the queue", opCreate},
	{"list the queue", opChildren},
	{"commit", opMulti},
	{"leave the queue", opDelete},
}

// TestAdvanceSurvivesALossAtEachStep: whichever request of a publish is lost, before or after the server has it, and whether the
// session outlives it or not, the publish succeeds once, the index is written once, and the lock is free.
func TestAdvanceSurvivesALossAtEachStep(t *testing.T) {
	for _, expires := range []bool{false, true} {
		for _, v := range []verdict{cutBefore, cutAfter} {
			for _, step := range publishing {
				name := fmt.Sprintf("%s/cut afterwards %v/session expires %v", step.name, v == cutAfter, expires)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					testLossAt(t, step.op, v, expires)
				})
			}
		}
	}
}

func testLossAt(t *testing.T, lost int32, v verdict, expires bool) {
	p, c, beside, chroot := behind(t, zookeeper.Options{SessionTimeout: time.Second, MaxBackoff: 20 * time.Millisecond})
	must(t, beside.Create(t.Context(), blacklist.Pointer()))
	advance(t, beside, blacklist.Pointer(), "", v1)
	connected(t, c)
	cutOff := make(chan struct{})
	seen := p.Once(lost, v, func() {
		if expires {
			p.change(func() { p.shut = true })
		}
		close(cutOff)
	})
	if expires {
		go func() {
			<-cutOff
			z, err := shared()
			if err != nil {
				return
			}
			for session := c.Stats().Session; ; {
				if all, err := z.Command("dump"); err == nil && !strings.Contains(all, session) {
					break
				}
			}
			p.Open()
		}()
	}
	indexes := 0
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := c.Advance(ctx, blacklist.Pointer(), v1, v2, func(context.Context) error {
		indexes++
		return nil
	})
	if err != nil || s.Version != v2 || indexes != 1 {
		t.Errorf("advance: %+v, %v, and %d indexes written", s, err, indexes)
	}
	if seen() == 0 {
		t.Error("nothing was cut, so this proves nothing")
	}
	z, err := shared()
	must(t, err)
	conn := raw(t, z.Addr)
	data, stat, err := conn.Get(chroot + string(blacklist.Pointer()))
	if err != nil || string(data) != string(v2) || stat.Version != 2 {
		t.Errorf("the node holds %q in version %d, %v", data, stat.Version, err)
	}
	eventually(t, func() error {
		queue, _, err := conn.Children(chroot + string(blacklist.Pointer()) + ".lock")
		if err != nil || len(queue) > 0 {
			return fmt.Errorf("in the queue there are still %q, %v", queue, err)
		}
		return nil
	})
	advance(t, beside, blacklist.Pointer(), v2, v3)
}

// TestAdvanceWithoutAnswer: a publish that nobody can tell of by the end of its ctx says so. If it was done it was done once, if not
// it will never be, and trying again with the same token tells.
func TestAdvanceWithoutAnswer(t *testing.T) {
	t.Parallel()
	for _, v := range []verdict{cutBefore, cutAfter} {
		t.Run(fmt.Sprintf("cut afterwards %v", v == cutAfter), func(t *testing.T) {
			p, c, beside, _ := behind(t, hasty)
			must(t, beside.Create(t.Context(), blacklist.Pointer()))
			advance(t, beside, blacklist.Pointer(), "", v1)
			connected(t, c)
			ctx, cancel := context.WithCancel(t.Context())
			p.Once(opMulti, v, func() {
				p.change(func() { p.shut = true })
				cancel()
			})
			_, err := c.Advance(ctx, blacklist.Pointer(), v1, v2, nil)
			refused(t, err, registry.ErrUnknown, "advance")
			p.Open()
			s, err := c.Advance(t.Context(), blacklist.Pointer(), v1, v2, nil)
			if err != nil || s.Version != v2 {
				t.Errorf("again: %+v, %v", s, err)
			}
			eventually(t, func() error {
				s, err := beside.State(t.Context(), blacklist.Pointer())
				if err == nil && s.Version != v2 {
					err = fmt.Errorf("it is at %s", s.Version)
				}
				return err
			})
			advance(t, beside, blacklist.Pointer(), v2, v3)
		})
	}
}

// TestAdvanceWithoutLock is for fleets that are all ours: no queue, and the same outcome.
func TestAdvanceWithoutLock(t *testing.T) {
	t.Parallel()
	o := hasty
	o.NoPythonLock = true
	p, c, beside, chroot := behind(t, o)
	must(t, beside.Create(t.Context(), blacklist.Pointer()))
	var base registry.Version
	for i, v := range []verdict{cutBefore, cutAfter} {
		p.Once(opMulti, v, nil)
		next := registry.Version(fmt.Sprintf("1795296200.%09d", i))
		advance(t, c, blacklist.Pointer(), base, next)
		base = next
	}
	_, err := c.Advance(t.Context(), blacklist.Pointer(), v1, v2, nil)
	refused(t, err, registry.ErrConflict, "advance from what it is not at")
	z, err := shared()
	must(t, err)
	conn := raw(t, z.Addr)
	if found, _, err := conn.Exists(chroot + string(blacklist.Pointer()) + ".lock"); found || err != nil {
		t.Errorf("there is a lock: %v, %v", found, err)
	}
	if _, stat, err := conn.Get(chroot + string(blacklist.Pointer())); err != nil || stat.Version != 2 {
		t.Errorf("the node is in version %d, %v", stat.Version, err)
	}
}

// TestLockHolderIsNamed: who waits for too long is told for whom.
func TestLockHolderIsNamed(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	o := hasty
	o.LockTimeout = 50 * time.Millisecond
	c := open(t, servers, o)
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	advance(t, c, blacklist.Pointer(), "", v1)
	conn := raw(t, z.Addr)
	lock := strings.TrimPrefix(servers, z.Addr) + string(blacklist.Pointer()) + ".lock"
	holder, err := conn.Create(lock+"/885edc692092414d8eaac184e6ba64b8__lock__", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	must(t, err)
	_, err = c.Advance(t.Context(), blacklist.Pointer(), v1, v2, nil)
	refused(t, err, registry.ErrTimeout, "advance")
	if !strings.Contains(fmt.Sprint(err), holder[len(lock)+1:]) {
		t.Errorf("the error does not name %s: %v", holder, err)
	}
	if queue, _, err := conn.Children(lock); err != nil || len(queue) != 1 {
		t.Errorf("the queue is %q, %v", queue, err)
	}
	must(t, conn.Delete(holder, -1))
	advance(t, c, blacklist.Pointer(), v1, v2)
}

// TestPlaceIsRemoved: somebody tidies up below the lock while we hold it. Then the commit is refused, and tried again.
func TestPlaceIsRemoved(t *testing.T) {
	t.Parallel()
	p, c, beside, chroot := behind(t, hasty)
	must(t, beside.Create(t.Context(), blacklist.Pointer()))
	connected(t, c)
	z, err := shared()
	must(t, err)
	conn := raw(t, z.Addr)
	commits := p.Once(opMulti, pass, func() {
		lock := chroot + string(blacklist.Pointer()) + ".lock"
		queue, _, _ := conn.Children(lock)
		for _, name := range queue {
			conn.Delete(lock+"/"+name, -1)
		}
	})
	_, err = c.Advance(t.Context(), blacklist.Pointer(), "", v1, func(context.Context) error { return nil })
	must(t, err)
	if n := commits(); n != 2 {
		t.Errorf("%d commits", n)
	}
}

// TestPointerIsReplaced: in the middle of a publish somebody deletes the pointer, or publishes without the lock.
func TestPointerIsReplaced(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]struct {
		do   func(conn *zk.Conn, path string) error
		want error
	}{
		"deleted": {func(conn *zk.Conn, path string) error { return conn.Delete(path, -1) }, registry.ErrNotExist},
		"set":     {func(conn *zk.Conn, path string) error { _, err := conn.Set(path, []byte(v3), -1); return err }, registry.ErrConflict},
		"made anew": {func(conn *zk.Conn, path string) error {
			if err := conn.Delete(path, -1); err != nil {
				return err
			}
			_, err := conn.Create(path, []byte(v3), 0, zk.WorldACL(zk.PermAll))
			return err
		}, registry.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, beside, chroot := behind(t, hasty)
			must(t, beside.Create(t.Context(), blacklist.Pointer()))
			advance(t, beside, blacklist.Pointer(), "", v1)
			connected(t, c)
			z, err := shared()
			must(t, err)
			conn := raw(t, z.Addr)
			p.Once(opMulti, pass, func() {
				if err := meddle.do(conn, chroot+string(blacklist.Pointer())); err != nil {
					t.Error(err)
				}
			})
			_, err = c.Advance(t.Context(), blacklist.Pointer(), v1, v2, func(context.Context) error {
				t.Error("an index was written for a version that never was")
				return nil
			})
			refused(t, err, meddle.want, "advance")
		})
	}
}

// TestAdvanceOvertaken: the connection is lost in the commit, and before there is another somebody publishes without the lock. One
// change since then can only be his, so ours is none; of two the first may have been ours.
func TestAdvanceOvertaken(t *testing.T) {
	t.Parallel()
	for v, want := range map[verdict]error{cutBefore: registry.ErrConflict, cutAfter: registry.ErrUnknown} {
		p, c, beside, chroot := behind(t, hasty)
		must(t, beside.Create(t.Context(), blacklist.Pointer()))
		advance(t, beside, blacklist.Pointer(), "", v1)
		connected(t, c)
		z, err := shared()
		must(t, err)
		conn, path := raw(t, z.Addr), chroot+string(blacklist.Pointer())
		p.Once(opMulti, v, func() { p.change(func() { p.shut = true }) })
		outcome := make(chan error, 1)
		go func() {
			_, err := c.Advance(context.Background(), blacklist.Pointer(), v1, v2, nil)
			outcome <- err
		}()
		eventually(t, func() error {
			data, _, err := conn.Get(path)
			switch {
			case err != nil:
				return err
			case v == cutAfter && string(data) != string(v2):
				return fmt.Errorf("it is at %q", data)
			}
			return unlessUnreachable(c.Err())
		})
		_, err = conn.Set(path, []byte(v3), -1)
		must(t, err)
		p.Open()
		refused(t, <-outcome, want, "advance")
		advance(t, beside, blacklist.Pointer(), v3, v2)
	}
}

// TestBytes: nodes are what the old system would have made of them.
func TestBytes(t *testing.T) {
	t.Parallel()
	z, servers := ensemble(t)
	chroot := strings.TrimPrefix(servers, z.Addr)
	c := open(t, servers, hasty)
	must(t, c.Create(t.Context(), blacklist.Metaconfig()))
	must(t, c.Create(t.Context(), blacklist.Pointer()))
	must(t, c.Create(t.Context(), users.Pointer()))
	must(t, c.CreateDependency(t.Context(), "web.dep"))
	must(t, c.Link(t.Context(), "web.dep", registry.Edge(blacklist)))
	advance(t, c, blacklist.Pointer(), "", v1)
	join(t, c, users, registry.Member{Endpoint: "10.0.0.1:9090", Node: "63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090"})
	members := membersOf(t, c, users)
	members.until(t, "the member", serve(1))

	var got []string
	conn := raw(t, z.Addr)
	var walk func(path string)
	walk = func(path string) {
		data, stat, err := conn.Get(path)
		must(t, err)
		acl, _, err := conn.GetACL(path)
		must(t, err)
		text := fmt.Sprintf("%q", data)
		if data == nil {
			text = "NULL"
		}
		got = append(got, fmt.Sprintf("%s data=%s ephemeral=%v version=%d acl=%s:%s=%d", path[len(chroot):], text,
			stat.EphemeralOwner != 0, stat.Version, acl[0].Scheme, acl[0].ID, acl[0].Perms))
		children, _, err := conn.Children(path)
		must(t, err)
		slices.Sort(children)
		for _, child := range children {
			walk(path + "/" + child)
		}
	}
	walk(chroot)
	want := []string{
		" data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/config data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/config/manageddata data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/config/manageddata/spam data=NULL ephemeral=false version=0 acl=world:anyone=31",
		`/config/manageddata/spam/blacklist data="1795296152.000000001" ephemeral=false version=1 acl=world:anyone=31`,
		"/config/manageddata/spam/blacklist.lock data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/discovery data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/discovery/user data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/discovery/user/prod data=NULL ephemeral=false version=0 acl=world:anyone=31",
		`/discovery/user/prod/63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:9090 data="10.0.0.1:9090" ephemeral=true version=0 acl=world:anyone=31`,
		"/metaconfig data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/metaconfig/dependency data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/metaconfig/dependency/web.dep data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/metaconfig/dependency/web.dep/config.manageddata.spam.blacklist data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/metaconfig/metaconfig data=NULL ephemeral=false version=0 acl=world:anyone=31",
		"/metaconfig/metaconfig/config.manageddata.spam.blacklist data=NULL ephemeral=false version=0 acl=world:anyone=31",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the nodes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
