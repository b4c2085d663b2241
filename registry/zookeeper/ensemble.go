package zookeeper

import (
	"context"
	"fmt"
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

	// Offset is what is added to the zxid of a change to get its registry.Order. It grows when another ensemble is accepted, so
	// that its states are later than those of the one before.
	Offset int64 `json:"offset,omitempty"`
}

// Ensemble is what should be kept for Options.Seen.
func (c *Client) Ensemble() Ensemble {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seenLocked()
}

func (c *Client) seenLocked() Ensemble {
	e := c.ensemble
	e.Zxid = c.zxid.Load()
	return e
}

// judge compares the ensemble at the other end of l with the one of last time. An error means that l should be tried again.
// Otherwise l.freeze says whether its states may be applied.
//
// A zxid that is lower than one heard of before is not proof at once: a leader that has been cut off from the others believes for
// some seconds that it still leads. It is when no server has known better for as long as a session lasts. From then on the
// ensemble stays frozen even if its zxid catches up, as it has other changes under the same numbers.
func (c *Client) judge(l *link, found Ensemble) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seenLocked()
	switch {
	case c.accepted != nil && found.Root == c.accepted.Root:
		c.adoptLocked(found)
	case seen.Zxid == 0 && seen.Root == "":
		c.ensemble.Root = found.Root
	case found.Zxid < seen.Zxid && !c.regressed:
		if c.suspected.IsZero() {
			c.suspected = time.Now()
		}
		if time.Since(c.suspected) < c.options.SessionTimeout {
			return fmt.Errorf("it has forgotten changes: zxid 0x%x after 0x%x: %w", found.Zxid, seen.Zxid, ErrEnsemble)
		}
		c.regressed = true
		l.foreign = found.Root != seen.Root
		l.freeze = frozen("zxid 0x%x after 0x%x", found.Zxid, seen.Zxid)
	case seen.Root != "" && found.Root != seen.Root:
		l.foreign = true
		l.freeze = frozen("%s was created at %q, and is now from %q", rootPointer, seen.Root, found.Root)
	case c.regressed:
		l.freeze = frozen("it has had changes that it has forgotten")
	default:
		c.ensemble.Root, c.suspected = found.Root, time.Time{}
	}
	l.offset = c.ensemble.Offset
	return nil
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
