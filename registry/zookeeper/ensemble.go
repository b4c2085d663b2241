package zookeeper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// rootPointer is the node by which an ensemble is recognised: everything that KingPin keeps is below it or beside it, it
// is made once, and a copy or a backup of an ensemble has the same.
const rootPointer registry.Pointer = "/metaconfig"

// Ensemble is what a client knows of the ensemble that it has been connected to. Whoever keeps it and gives it to the next
// client, by Options.Seen, has it recognised across restarts.
type Ensemble struct {
	// Root is the creation of /metaconfig: its zxid and time. It is empty if there was none yet.
	Root string `json:"root"`

	// Zxid is the latest change that was heard of.
	Zxid int64 `json:"zxid"`

	// Latest is the latest change of a followed pointer that was heard of. An ensemble that has lost any of them has lost this one.
	Latest Change `json:"latest,omitzero"`

	// Offset is what is added to the zxid of a change to get its registry.Order. It grows when another ensemble is accepted, so
	// that its states are later than those of the one before.
	Offset int64 `json:"offset,omitempty"`
}

// Change is one of a node's data. Changes of children will not do: servers before 3.6 may forget them when they restart.
type Change struct {
	Path string `json:"path"`
	Zxid int64  `json:"zxid"`
}

// marks bounds how many of the latest changes are looked for on a new connection: the very latest may be of a node that has been
// deleted since.
const marks = 8

// Ensemble is what should be kept for Options.Seen.
func (c *Client) Ensemble() Ensemble {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seenLocked()
}

// Judged has a token when the ensemble may have another Root or Offset than before. How far it has got is not told.
func (c *Client) Judged() <-chan struct{} { return c.judged }

func (c *Client) judgedLocked() {
	select {
	case c.judged <- struct{}{}:
	default: // it is known
	}
}

func (c *Client) seenLocked() Ensemble {
	e := c.ensemble
	e.Zxid = c.zxid.Load()
	if latest := c.latestLocked(); len(latest) > 0 {
		e.Latest = latest[0]
	}
	return e
}

// latestLocked are the latest changes of pointers that are followed, the last one first, and that of last time if it is among them.
func (c *Client) latestLocked() []Change {
	var latest []Change
	note := func(change Change) {
		if change.Zxid == 0 || slices.Contains(latest, change) || len(latest) == marks && change.Zxid < latest[marks-1].Zxid {
			return
		}
		i, _ := slices.BinarySearchFunc(latest, change, func(a, b Change) int { return cmp.Compare(b.Zxid, a.Zxid) })
		latest = slices.Insert(latest, i, change)
		latest = latest[:min(len(latest), marks)]
	}
	note(c.ensemble.Latest)
	for _, n := range c.nodes {
		if n.kind == pointer {
			note(Change{Path: n.path, Zxid: n.zxid})
		}
	}
	return latest
}

func (c *Client) latest() []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latestLocked()
}

// born names the creation of a node.
func born(zxid, milliseconds int64) string { return fmt.Sprintf("%x-%x", zxid, milliseconds) }

// recogniseLocked follows the node by which the ensemble is recognised while it is not there yet.
func (c *Client) recogniseLocked() {
	k := key{c.path(rootPointer), identity}
	n := c.nodes[k]
	switch {
	case n == nil && c.ensemble.Root == "":
		c.nodes[k] = &node{key: k, feeds: 1, bell: make(chan struct{})}
	case n != nil && c.ensemble.Root != "":
		n.feeds = 0
		c.forgetLocked(n)
	}
}

// learnLocked takes its creation for the mark of the ensemble.
func (c *Client) learnLocked(n *node) {
	if made, ok := n.value.(string); ok && made != "" && c.ensemble.Root == "" {
		c.ensemble.Root = made
		c.judgedLocked()
		n.feeds = 0
	}
}

// judge compares the ensemble at the other end of l with the one of last time; forgotten is one of its latest changes that it does not
// know. An error means that l should be tried again. Otherwise l.freeze says whether its states may be applied.
//
// A zxid that is lower than one heard of before is not proof at once: a leader that has been cut off from the others believes for
// some seconds that it still leads. It is when no server has known better for as long as a session lasts. From then on the
// ensemble stays frozen even if its zxid catches up, as it has other changes under the same numbers. A zxid that is not lower
// proves nothing either, since everybody who comes back makes a few changes; then it is the forgotten change that counts.
func (c *Client) judge(l *link, found Ensemble, forgotten Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seenLocked()
	lower := found.Zxid < seen.Zxid
	switch {
	case c.accepted != nil && found.Root == c.accepted.Root:
		c.adoptLocked(found)
	case seen.Zxid == 0 && seen.Root == "":
		c.ensemble.Root = found.Root
	case lower && !c.regressed && !c.suspectedForLong():
		return fmt.Errorf("it has forgotten changes: zxid 0x%x after 0x%x: %w", found.Zxid, seen.Zxid, ErrEnsemble)
	case seen.Root != "" && found.Root != seen.Root:
		l.foreign = true
		l.freeze = frozen("%s was created at %q, and is now from %q", rootPointer, seen.Root, found.Root)
	case lower:
		c.regressed = true
		l.freeze = frozen("zxid 0x%x after 0x%x", found.Zxid, seen.Zxid)
	case forgotten.Path != "":
		c.regressed = true
		l.freeze = frozen("it has forgotten the change 0x%x of %s", forgotten.Zxid, forgotten.Path)
	case c.regressed:
		l.freeze = frozen("it has forgotten changes")
	default:
		c.ensemble.Root, c.suspected = found.Root, time.Time{}
	}
	l.offset = c.ensemble.Offset
	c.judgedLocked()
	return nil
}

// suspectedForLong notes a suspicion and says whether it has lasted for as long as a session.
func (c *Client) suspectedForLong() bool {
	if c.suspected.IsZero() {
		c.suspected = time.Now()
	}
	return time.Since(c.suspected) >= c.options.SessionTimeout
}

func frozen(format string, args ...any) error {
	return fmt.Errorf("ZooKeeper: %w (%s), so that updates are not applied until it is accepted: %w",
		ErrEnsemble, fmt.Sprintf(format, args...), registry.ErrUnreachable)
}

// adoptLocked takes found for the truth. Its changes count as later than all those of the one before.
func (c *Client) adoptLocked(found Ensemble) {
	c.ensemble = Ensemble{Root: found.Root, Offset: c.ensemble.Offset + c.zxid.Load()}
	c.zxid.Store(found.Zxid)
	c.accepted, c.regressed, c.suspected = nil, false, time.Time{}
	for _, n := range c.nodes {
		n.disarm()
		n.zxid = 0
	}
}

// Accept overrules a freeze: what the ensemble says now is applied. It returns when that has begun. nil if nothing is frozen.
func (c *Client) Accept(ctx context.Context) error {
	for {
		c.mu.Lock()
		l, changed := c.link, c.changed
		switch {
		case c.closed:
			c.mu.Unlock()
			return ErrClosed
		case l == nil && c.accepted == nil:
			err := unreachable(c.trouble)
			c.mu.Unlock()
			return fmt.Errorf("accept: %w", err)
		case l != nil && l.freeze == nil:
			c.mu.Unlock()
			return nil
		case l != nil:
			c.accepted = &Ensemble{Root: l.root}
		}
		c.mu.Unlock()
		if l != nil {
			// All that is known of the old ensemble ends with the connection.
			l.fail(fmt.Errorf("accepted: %w", ErrEnsemble))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return expired(ctx)
		}
	}
}
