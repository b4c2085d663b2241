package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// awayPause bounds the pause of a member that is not in because there was no connection: waiting for one is pause enough.
const awayPause = time.Second

// Join registers m in a serverset, waits until ctx is done, and takes it out again: nil then. An empty Node gets a fresh one. ErrNotExist
// if there is no such serverset, ErrExist if its Node is taken.
//
// The member is one node of our session. It is made again, under the same name, as soon as it is missing: after the session was
// lost, or when somebody has removed it. There is never a second one.
func (c *Client) Join(ctx context.Context, n registry.Name, m registry.Member) error {
	return c.Keep(ctx, n, registry.Once(m))
}

// Keep is Join for a member that may say something else later, and for who wants to know how it stands. What it says is the data of
// a node that nobody reads twice, so another node takes the place of the first in one transaction.
func (c *Client) Keep(ctx context.Context, n registry.Name, k registry.Keeping) error {
	if _, err := registry.ParseName(string(n)); err != nil {
		return fmt.Errorf("join %s: %w", n, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("join %s: %w", n, expired(ctx))
	}
	j := &joining{c: c, dir: c.path(n.Pointer()), keeping: k, ours: make(map[int64]bool)}
	if k.Former != "" && !strings.Contains(k.Former, "/") {
		j.former = []string{j.dir + "/" + k.Former}
	}
	if err := j.run(ctx); err != nil {
		return fmt.Errorf("join %s: %w", n, err)
	}
	return nil
}

// Bequeath has the members outlive this client for as long as their session: another process takes their places over. From now on who
// leaves is not removed, and Close does not end the session.
func (c *Client) Bequeath() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bequeathed = true
}

func (c *Client) hasHeirs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bequeathed
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

// joining is one call of Keep.
type joining struct {
	c       *Client
	dir     string // of the serverset
	keeping registry.Keeping

	path   string // of the node that is wanted; "": nothing was wanted yet
	data   []byte
	former []string       // nodes that make room for it
	ours   map[int64]bool // sessions in which we may have made the node
	in     bool           // a node has been made
	seen   *follower      // of the node at path, once it was made
}

func (j *joining) node() string { return j.path[len(j.dir)+1:] }

// want is another member in the place of the one before.
func (j *joining) want(m registry.Member) error {
	if m.Node == "" {
		m.Node = registry.MemberNode(m.Endpoint)
	}
	data, err := checkMember(m)
	if err != nil {
		return err
	}
	path := j.dir + "/" + m.Node
	if path == j.path {
		return fmt.Errorf("member node %s says something already: %w", m.Node, registry.ErrExist)
	}
	if !j.c.reserve(path) {
		return fmt.Errorf("member node %s: %w", m.Node, registry.ErrExist)
	}
	if j.path != "" {
		j.unsee()
		j.c.release(j.path)
		j.former = append(j.former, j.path)
	}
	j.path, j.data = path, data
	clear(j.ours)
	return nil
}

// see follows the node: who it is of tells whether it is to be made again.
func (j *joining) see() {
	if j.seen == nil {
		j.seen = &follower{c: j.c, n: j.c.follow(key{j.path, presence})}
	}
}

func (j *joining) unsee() {
	if j.seen != nil {
		j.c.unfollow(j.seen.n)
		j.seen = nil
	}
}

// run puts the node right if it is not as it should be, and looks again when that may have changed.
func (j *joining) run(ctx context.Context) error {
	select {
	case m := <-j.keeping.Wanted:
		if err := j.want(m); err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}
	defer func() { j.c.release(j.path) }()
	defer j.unsee()
	defer j.leave(ctx)
	told := false
	for tries := 0; ctx.Err() == nil; {
		err := j.enter(ctx)
		var pause time.Duration
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed), !j.in && isRefusal(err):
			return err
		case err == nil:
			if !told {
				j.keeping.Tell(j.node(), nil)
			}
			j.in, told, tries = true, true, 0
			j.see()
		default:
			if tries == 0 {
				j.c.options.Logger.Warn("member not there", "path", j.path, "err", err)
			}
			j.keeping.Tell(j.node(), err)
			told = false
			pause = backoff(tries)
			if errors.Is(err, registry.ErrUnreachable) {
				pause = min(pause, awayPause)
			}
			tries++
		}
		if m, changed := j.rest(ctx, pause); changed {
			if err := j.want(m); err != nil {
				j.keeping.Tell(j.node(), err)
				continue
			}
			told = false
		}
	}
	return nil
}

// rest waits until there is something to do: something else is wanted, the node or the connection may be another, or the pause is
// over (0: there is none).
func (j *joining) rest(ctx context.Context, pause time.Duration) (m registry.Member, changed bool) {
	var over <-chan time.Time
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		over = timer.C
	}
	for {
		wait := &waiting{changed: j.c.closing}
		if j.seen != nil {
			value, nothing, err := j.seen.look()
			by, _ := value.(owner)
			switch {
			case nothing != nil:
				wait = nothing
			case err == nil && by.exists && by.session == by.self && j.ours[by.self]:
				continue // it is as it should be
			default:
				return m, false
			}
		}
		select {
		case m = <-j.keeping.Wanted:
			return m, true
		case <-wait.bell:
		case <-wait.changed:
			if j.seen == nil {
				return m, false
			}
		case <-over:
			return m, false
		case <-ctx.Done():
			return m, false
		}
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
	var now owner
	if len(j.ours) > 0 { // else it is new, and whoever made one of that name is somebody else
		if now, err = j.look(ctx, l); err != nil {
			return err
		}
	}
	switch {
	case now.exists && now.session == self && j.ours[self]:
		j.former = nil // gone in the transaction that has made it
		return nil
	case now.exists && now.session != self && !j.ours[now.session]:
		return fmt.Errorf("member node %s is of session %s: %w", j.path, sessionName(now.session), registry.ErrExist)
	}
	if j.seen != nil && !now.exists {
		j.c.options.Logger.Warn("member was gone", "path", j.path, "session", sessionName(self))
	}
	for {
		err = j.make(ctx, l, now.exists)
		if !errors.Is(err, registry.ErrExist) || now.exists {
			return err
		}
		// Unless it is somebody else's, we have left it behind, and its removal is under way or has just been done.
		var lookErr error
		if now, lookErr = j.look(ctx, l); lookErr != nil || now.exists && now.session != self {
			return err
		}
	}
}

func (j *joining) look(ctx context.Context, l *link) (owner, error) {
	return do(ctx, l, func(conn *zk.Conn) (owner, error) {
		found, stat, err := conn.Exists(j.path)
		if err != nil || !found {
			return owner{}, err
		}
		return owner{exists: true, session: stat.EphemeralOwner}, nil
	})
}

// make is the transaction. Former nodes that are gone already, or are being removed, are none.
func (j *joining) make(ctx context.Context, l *link, present bool) error {
	self := l.session.id
	before := j.ours[self]
	j.ours[self] = true
	for {
		j.c.forgive(j.path)
		var ops []any
		for _, path := range j.former {
			ops = append(ops, &zk.DeleteRequest{Path: path, Version: -1})
		}
		if present {
			ops = append(ops, &zk.DeleteRequest{Path: j.path, Version: -1})
		}
		ops = append(ops, &zk.CreateRequest{Path: j.path, Data: j.data, Acl: j.c.acl, Flags: zk.FlagEphemeral})
		_, err := multi(ctx, l, ops...)
		failed, definite := errors.AsType[*failedOp](err)
		switch {
		case err == nil:
			for _, path := range j.former {
				j.c.forgive(path)
			}
			j.former = nil
			return nil
		case definite && failed.index < len(j.former) && errors.Is(err, registry.ErrNotExist):
			j.former = slices.Delete(j.former, failed.index, failed.index+1)
		case definite && failed.index < len(ops)-1:
			return errDisplaced // somebody else has removed it first
		default:
			if definite && !before {
				delete(j.ours, self)
			}
			return err
		}
	}
}

// leave removes the node, and those for which there was no room yet: at once if that can be done, else as soon as there is a
// connection.
func (j *joining) leave(ctx context.Context) {
	j.c.mu.Lock()
	l, present, over := j.c.link, j.c.session.id, j.c.closed || j.c.bequeathed
	j.c.mu.Unlock()
	if over {
		return // it goes with its session
	}
	paths := j.former
	if j.ours[present] {
		paths = append(paths, j.path)
	}
	for _, path := range paths {
		if l != nil && !l.isLost() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
			gone := settled(j.c.remove(ctx, l, path))
			cancel()
			if gone {
				continue
			}
		}
		j.c.owe(debt{path: path, session: present})
	}
}
