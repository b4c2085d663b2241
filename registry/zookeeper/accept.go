package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Acceptances yields what operators have accepted as Watch does the state of a pointer. It is one watch, whatever their number.
func (c *Client) Acceptances(ctx context.Context) iter.Seq2[registry.Acceptances, error] {
	return func(yield func(registry.Acceptances, error) bool) {
		for a, err := range feed[registry.Acceptances](ctx, c, key{c.path(registry.AcceptRoot), accepts}) {
			a.List = slices.Clone(a.List)
			if !yield(a, err) {
				return
			}
		}
	}
}

// readAcceptances reads the data of those that were not there the last time: a node is never changed.
func (c *Client) readAcceptances(ctx context.Context, l *link, n *node, last registry.Acceptances) (reading, error) {
	found, err := readChildren(ctx, l, n.path)
	if err != nil {
		return reading{}, err
	}
	known := make(map[string]registry.Acceptance, len(last.List))
	for _, a := range last.List {
		known[a.Node()] = a
	}
	all := registry.Acceptances{Order: max(last.Order, registry.Order(l.order(found.stat.Pzxid)))}
	odd := make(map[string]bool)
	for _, child := range found.children {
		a, ok := known[child]
		if !ok {
			said, err := get(ctx, l, n.path+"/"+child)
			if errors.Is(err, registry.ErrNotExist) {
				continue // it went meanwhile, and that will be heard
			}
			if err != nil && !errors.Is(err, registry.ErrPermission) { // its name says enough
				return reading{}, err
			}
			if a, err = registry.ParseAcceptance(child, said.data); err != nil {
				c.ignore(n, odd, child, err)
				continue
			}
		}
		all.List = append(all.List, a)
	}
	n.odd = odd
	slices.SortFunc(all.List, func(a, b registry.Acceptance) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Until.Compare(b.Until))
	})
	return reading{all, children, found.stat.Pzxid}, nil
}

// PutAcceptance notes an acceptance in place of the present one of the same serverset; one that is over only ends that. Those that
// have been over for long are removed, by whoever comes first.
func (c *Client) PutAcceptance(ctx context.Context, a registry.Acceptance) error {
	data, err := a.Format()
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	root := c.path(registry.AcceptRoot)
	if a.Until.After(a.At) {
		err = c.tell(ctx, registry.ErrExist, func(l *link) error {
			_, err := c.create(ctx, l, root+"/"+a.Node(), data, 0)
			if !errors.Is(err, registry.ErrNotExist) {
				return err
			}
			if err := c.make(ctx, l, root); err != nil && !errors.Is(err, registry.ErrExist) {
				return err
			}
			_, err = c.create(ctx, l, root+"/"+a.Node(), data, 0)
			return err
		})
		if err != nil && !errors.Is(err, registry.ErrExist) { // somebody has said the same
			return fmt.Errorf("accept %s: %w", a.Name, err)
		}
	}
	if err := c.clearAcceptances(ctx, root, a); err != nil {
		return fmt.Errorf("accept %s: %w", a.Name, err)
	}
	return nil
}

// clearAcceptances removes what a new acceptance replaces, and what nobody needs any more.
func (c *Client) clearAcceptances(ctx context.Context, root string, a registry.Acceptance) error {
	children, err := ask(ctx, c, func(l *link) ([]string, error) { return list(ctx, l, root) })
	if errors.Is(err, registry.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range children {
		old, err := registry.ParseAcceptance(child, nil)
		if err != nil || child == a.Node() && a.Until.After(a.At) || old.Name != a.Name && !old.Obsolete(time.Now()) {
			continue
		}
		err = c.tell(ctx, registry.ErrNotExist, func(l *link) error { return c.remove(ctx, l, root+"/"+child) })
		if err != nil && !errors.Is(err, registry.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Losses is how often the connection to the ensemble was made anew so far, and why there is none now. What is said about a node behind
// a loss may be the first that is heard after others have lost their sessions too.
func (c *Client) Losses() (count int64, now error) {
	now = c.Err()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections, now
}
