package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// fetchers bounds how many members of one serverset are read at a time.
const fetchers = 8

// Members yields who is in a serverset as Watch does the state of a pointer.
func (c *Client) Members(ctx context.Context, n registry.Name) iter.Seq2[registry.Membership, error] {
	if _, err := registry.ParseName(string(n)); err != nil {
		return refuse[registry.Membership](ctx, err)
	}
	return func(yield func(registry.Membership, error) bool) {
		for m, err := range feed[registry.Membership](ctx, c, key{c.path(n.Pointer()), members}) {
			m.Members = slices.Clone(m.Members)
			if !yield(m, err) {
				return
			}
		}
	}
}

// readMembers reads the data of those members that were not there the last time. What a member says of itself does not change.
func (c *Client) readMembers(ctx context.Context, l *link, n *node, last registry.Membership) (reading, error) {
	found, err := readChildren(ctx, l, n.path)
	if err != nil {
		return reading{}, err
	}
	known := make(map[string]registry.Member, len(last.Members))
	for _, m := range last.Members {
		known[m.Node] = m
	}
	m := registry.Membership{Exists: true, Order: max(last.Order, registry.Order(l.order(found.stat.Pzxid)))}
	odd := make(map[string]bool)
	var fresh []string
	came := 0
	for _, child := range found.children {
		member, ok := known[child]
		switch {
		case ok:
			m.Members = append(m.Members, member)
			continue
		case n.odd[child]:
			odd[child] = true
			continue
		}
		came++
		fresh = append(fresh, child)
	}
	went := len(n.odd) + len(known) + came - len(found.children)
	if changes := found.stat.Cversion - n.cversion; changes != int32(came+went) {
		// Somebody has left and come back in between: he has the same node, but may say something else.
		fresh, m.Members, odd = found.children, nil, make(map[string]bool)
	}
	joined, err := c.fetch(ctx, l, n, fresh, odd)
	if err != nil {
		return reading{}, err
	}
	n.odd, n.cversion = odd, found.stat.Cversion
	m.Members = append(m.Members, joined...)
	slices.SortFunc(m.Members, func(a, b registry.Member) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	})
	return reading{m, children, found.stat.Pzxid}, nil
}

// fetch reads the members below n. Those that have left meanwhile are left out: their leaving will be heard.
func (c *Client) fetch(ctx context.Context, l *link, n *node, names []string, odd map[string]bool) ([]registry.Member, error) {
	found := make([]content, len(names))
	failures := make([]error, len(names))
	var work sync.WaitGroup
	slots := make(chan struct{}, fetchers)
	for i, name := range names {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			found[i], failures[i] = get(ctx, l, n.path+"/"+name)
		})
	}
	work.Wait()
	var all []registry.Member
	for i, name := range names {
		switch err := failures[i]; {
		case errors.Is(err, registry.ErrNotExist):
			continue
		case err != nil && !errors.Is(err, registry.ErrPermission): // its name says enough
			return nil, err
		}
		m, err := registry.ParseMember(name, found[i].data)
		if err != nil {
			c.ignore(n, odd, name, err)
			continue
		}
		if found[i].stat != nil {
			m.Since = time.UnixMilli(found[i].stat.Ctime).UTC()
		}
		all = append(all, m)
	}
	return all, nil
}

// Join registers m in a serverset, waits until ctx is done, and takes it out again: nil then. An empty Node gets a fresh one. ErrNotExist
// if there is no such serverset, ErrExist if its Node is taken.
//
// The member is one node of our session. It is made again, under the same name, as soon as it is missing: after the session was
// lost, or when somebody has removed it. There is never a second one.
func (c *Client) Join(ctx context.Context, n registry.Name, m registry.Member) error {
	if m.Node == "" {
		m.Node = registry.MemberNode(m.Endpoint)
	}
	data, err := checkMember(m)
	if err == nil {
		_, err = registry.ParseName(string(n))
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", n, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("join %s: %w", n, expired(ctx))
	}
	j := &joining{c: c, path: c.path(n.Pointer()) + "/" + m.Node, data: data, ours: make(map[int64]bool)}
	if !c.reserve(j.path) {
		return fmt.Errorf("join %s: member node %s: %w", n, m.Node, registry.ErrExist)
	}
	defer c.release(j.path)
	if err := j.run(ctx); err != nil {
		return fmt.Errorf("join %s: %w", n, err)
	}
	return nil
}

// checkMember returns a member's data. It refuses what could not be stored where old readers look.
func checkMember(m registry.Member) ([]byte, error) {
	data, err := registry.FormatMember(m)
	if err != nil {
		return nil, err
	}
	stored, err := registry.ParseMember(m.Node, data)
	if err != nil {
		return nil, err
	}
	if stored.Endpoint != m.Endpoint || strings.Contains(m.Node, "/") {
		return nil, fmt.Errorf("member node %q is not one of %s: %w", m.Node, m.Endpoint, registry.ErrInvalid)
	}
	return data, nil
}

// reserve notes the path of a member of this process. Its node does not tell: another Join here has the same session.
func (c *Client) reserve(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined[path] {
		return false
	}
	c.joined[path] = true
	return true
}

func (c *Client) release(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.joined, path)
}

// joining is one call of Join.
type joining struct {
	c    *Client
	path string
	data []byte

	ours map[int64]bool // sessions in which we may have made the node
	in   bool           // it has been made
}

// run puts the node right if it is not as it should be, and looks again when that may have changed.
func (j *joining) run(ctx context.Context) error {
	c := j.c
	n := c.follow(key{j.path, presence})
	defer c.unfollow(n)
	defer j.leave(ctx)
	f := follower{c: c, n: n}
	for tries := 0; ; {
		err := j.enter(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed), !j.in && isRefusal(err):
			return err
		case err == nil:
			j.in, tries = true, 0
			if _, ok, _ := f.next(ctx); !ok {
				return nil
			}
			continue
		}
		if tries == 0 {
			c.options.Logger.Warn("member not there", "path", j.path, "err", err)
		}
		pause, cancel := context.WithTimeout(ctx, backoff(tries))
		f.next(pause)
		cancel()
		tries++
	}
}

// isRefusal says whether trying again makes no sense, unless things were otherwise before.
func isRefusal(err error) bool {
	return errors.Is(err, registry.ErrNotExist) || errors.Is(err, registry.ErrExist) || errors.Is(err, registry.ErrPermission)
}

// enter makes the node unless it is there. One that we have left behind in this session or an earlier one is replaced.
func (j *joining) enter(ctx context.Context) error {
	l, err := j.c.await(ctx, func(l *link) bool { return l.freeze == nil || !l.foreign })
	if err != nil {
		return err
	}
	self := l.session.id
	now, err := do(ctx, l, func(conn *zk.Conn) (owner, error) {
		found, stat, err := conn.Exists(j.path)
		if err != nil || !found {
			return owner{}, err
		}
		return owner{exists: true, session: stat.EphemeralOwner}, nil
	})
	switch {
	case err != nil:
		return err
	case now.exists && now.session == self && j.ours[self]:
		return nil
	case now.exists && now.session != self && !j.ours[now.session]:
		return fmt.Errorf("member node %s is of session %s: %w", j.path, sessionName(now.session), registry.ErrExist)
	}
	j.c.forgive(j.path)
	ops := []any{&zk.CreateRequest{Path: j.path, Data: j.data, Acl: j.c.acl, Flags: zk.FlagEphemeral}}
	if now.exists {
		ops = append([]any{&zk.DeleteRequest{Path: j.path, Version: -1}}, ops...)
	} else if j.in {
		j.c.options.Logger.Warn("member was gone", "path", j.path, "session", sessionName(self))
	}
	j.ours[self] = true
	_, err = multi(ctx, l, ops...)
	var failed *failedOp
	if errors.As(err, &failed) && failed.index < len(ops)-1 {
		return errDisplaced // somebody else has removed it first
	}
	return err
}

// leave removes the node: at once if that can be done, else as soon as there is a connection.
func (j *joining) leave(ctx context.Context) {
	j.c.mu.Lock()
	l, present, closed := j.c.link, j.c.session.id, j.c.closed
	j.c.mu.Unlock()
	if closed || !j.ours[present] {
		return // it goes with its session
	}
	if l != nil && !l.isLost() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
		defer cancel()
		if settled(j.c.remove(ctx, l, j.path)) {
			return
		}
	}
	j.c.owe(debt{path: j.path, session: present})
}
