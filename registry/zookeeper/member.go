package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

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

// relist is how often in a row a serverset is read again at once because somebody has left between the list and his own words.
const relist = 3

// readMembers reads the data of those members that were not there the last time. What a member says of itself does not change; one that
// says something else is another node, in the same moment: who has gone since the list may be there still, and nobody is to hear
// that he is not.
func (c *Client) readMembers(ctx context.Context, l *link, n *node, last registry.Membership) (r reading, err error) {
	for range relist {
		var whole bool
		if r, whole, err = c.readRoster(ctx, l, n, last); whole || err != nil {
			break
		}
	}
	return r, err
}

// readRoster is one try of readMembers. It is whole if all were there to be read.
func (c *Client) readRoster(ctx context.Context, l *link, n *node, last registry.Membership) (r reading, whole bool, err error) {
	found, err := readChildren(ctx, l, n.path)
	if err != nil {
		return reading{}, false, err
	}
	m := registry.Membership{Exists: true, Order: max(last.Order, registry.Order(l.order(found.stat.Pzxid)))}
	present := make(map[string]struct{}, len(found.children))
	for _, child := range found.children {
		present[child] = struct{}{}
	}
	m.Members = make([]registry.Member, 0, len(found.children))
	for _, member := range last.Members {
		if _, ok := present[member.Node]; ok {
			m.Members = append(m.Members, member)
			delete(present, member.Node)
		}
	}
	odd := make(map[string]bool)
	var fresh []string
	for child := range present {
		if n.odd[child] {
			odd[child] = true
			continue
		}
		fresh = append(fresh, child)
	}
	went := len(n.odd) - len(odd) + len(last.Members) - len(m.Members)
	if changes := found.stat.Cversion - n.cversion; changes != int32(len(fresh)+went) {
		// Somebody has left and come back in between: he has the same node, but may say something else.
		fresh, m.Members, odd = found.children, nil, make(map[string]bool)
	}
	known := len(odd)
	joined, err := c.fetch(ctx, l, n, fresh, odd)
	if err != nil {
		return reading{}, false, err
	}
	n.odd = odd
	if whole = len(joined)+len(odd)-known == len(fresh); whole {
		n.cversion = found.stat.Cversion // else the next look counts more changes than it finds, and reads all
	}
	m.Members = merge(m.Members, joined)
	return reading{m, children, found.stat.Pzxid}, whole, nil
}

// merge adds members to sorted ones.
func merge(sorted, more []registry.Member) []registry.Member {
	order := func(a, b registry.Member) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	}
	slices.SortFunc(more, order)
	var merged []registry.Member
	for _, m := range more {
		i, _ := slices.BinarySearchFunc(sorted, m, order)
		merged = append(append(merged, sorted[:i]...), m)
		sorted = sorted[i:]
	}
	return append(merged, sorted...)
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
