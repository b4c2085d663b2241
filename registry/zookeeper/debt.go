package zookeeper

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// debtRecheck is when what could not be removed is tried again.
const debtRecheck = time.Second

// debt is a node of our session that is to be removed. It is forgotten when the session ends, as the node is removed then.
type debt struct {
	path    string // of a member
	place   *place // or a place in a queue, to be found by what its name begins with
	session int64
	again   time.Time // not before
	last    bool      // it has been looked for once
}

// owe has a node removed as soon as that can be done.
func (c *Client) owe(d debt) {
	c.mu.Lock()
	c.debts = append(c.debts, &d)
	c.mu.Unlock()
	select {
	case c.owed <- struct{}{}:
	default:
	}
}

// forgive keeps a member's node that is wanted again.
func (c *Client) forgive(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.debts = slices.DeleteFunc(c.debts, func(d *debt) bool { return d.path == path })
}

// drop forgets what was paid.
func (c *Client) drop(paid *debt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.debts = slices.DeleteFunc(c.debts, func(d *debt) bool { return d == paid })
}

func (c *Client) owes(d *debt) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.debts, d)
}

// settle removes what is owed, until ctx is done.
func (c *Client) settle(ctx context.Context, l *link) {
	for {
		var wait <-chan time.Time
		for _, d := range c.all() {
			switch {
			case d.session != l.session.id:
				c.drop(d)
			case !c.owes(d): // forgiven while others were paid
			case !time.Now().Before(d.again) && c.pay(ctx, l, d):
				c.drop(d)
			default:
				wait = time.After(debtRecheck)
			}
		}
		select {
		case <-c.owed:
		case <-wait:
		case <-ctx.Done():
			return
		}
	}
}

// all is what is owed now.
func (c *Client) all() []*debt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.debts)
}

// pay removes one node and says whether that was all. A place whose making was not answered is looked for twice, the second time
// when a server has dropped the old connection at the latest: until then it may still read from it that it should make it.
func (c *Client) pay(ctx context.Context, l *link, d *debt) bool {
	ctx, cancel := context.WithTimeout(ctx, tidying)
	defer cancel()
	path := d.path
	if d.place != nil {
		path = d.place.path()
		if d.place.name == "" {
			return c.sweep(ctx, l, d)
		}
	}
	return settled(c.remove(ctx, l, path))
}

func (c *Client) sweep(ctx context.Context, l *link, d *debt) bool {
	names, err := list(ctx, l, d.place.dir)
	for _, name := range names {
		if strings.HasPrefix(name, d.place.id) {
			return settled(c.remove(ctx, l, d.place.dir+"/"+name))
		}
	}
	if !settled(err) {
		return false
	}
	if d.last {
		return true
	}
	d.last, d.again = true, time.Now().Add(l.session.timeout)
	return false
}

// settled says whether trying again makes no sense.
func settled(err error) bool {
	return err == nil || errors.Is(err, registry.ErrNotExist) || errors.Is(err, registry.ErrPermission)
}
