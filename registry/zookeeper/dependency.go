package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// Dependency yields the edges of a dependency as Watch does the state of a pointer.
func (c *Client) Dependency(ctx context.Context, d registry.Dependency) iter.Seq2[registry.Edges, error] {
	if _, err := registry.ParseDependency(string(d)); err != nil {
		return refuse[registry.Edges](ctx, err)
	}
	return func(yield func(registry.Edges, error) bool) {
		for e, err := range feed[registry.Edges](ctx, c, key{c.path(d.Pointer()), edges}) {
			e.Members = slices.Clone(e.Members)
			if !yield(e, err) {
				return
			}
		}
	}
}

// listing is a node's children as they were read.
type listing struct {
	children []string
	stat     *zk.Stat
}

func readChildren(ctx context.Context, l *link, path string) (listing, error) {
	return do(ctx, l, func(conn *zk.Conn) (listing, error) {
		children, stat, _, err := conn.ChildrenW(path)
		return listing{children, stat}, err
	})
}

// readEdges lists the edges. Servers have been seen to differ in a node's pzxid after a crash; what is read later is later.
func (c *Client) readEdges(ctx context.Context, l *link, n *node, last registry.Edges) (reading, error) {
	found, err := readChildren(ctx, l, n.path)
	if err != nil {
		return reading{}, err
	}
	e := registry.Edges{Exists: true, Order: max(last.Order, registry.Order(l.order(found.stat.Pzxid)))}
	odd := make(map[string]bool)
	for _, child := range found.children {
		edge, err := registry.ParseEdge(child)
		if err != nil {
			c.ignore(n, odd, child, err)
			continue
		}
		e.Members = append(e.Members, edge)
	}
	n.odd = odd
	slices.Sort(e.Members)
	return reading{e, children, found.stat.Pzxid}, nil
}

// ignore notes a child that is not what belongs below its parent, and logs it the first time. A publishers' lock is nothing to speak
// of.
func (c *Client) ignore(n *node, odd map[string]bool, child string, err error) {
	odd[child] = true
	if n.odd[child] || strings.HasSuffix(child, lockSuffix) {
		return
	}
	c.ignored.Add(1)
	c.options.Logger.Warn("ignored what does not belong there", "path", n.path, "node", child, "err", err)
}

// CreateDependency makes an empty dependency. ErrExist if there is one, ErrInvalid if it is not called like one.
func (c *Client) CreateDependency(ctx context.Context, d registry.Dependency) error {
	if _, err := registry.ParseDependency(string(d)); err != nil {
		return err
	}
	err := c.tell(ctx, registry.ErrExist, func(l *link) error { return c.make(ctx, l, c.path(d.Pointer())) })
	if err != nil {
		return fmt.Errorf("create dependency %s: %w", d, err)
	}
	return nil
}

// DeleteDependency removes an empty dependency. ErrNotExist if there is none, ErrNotEmpty if it has edges.
func (c *Client) DeleteDependency(ctx context.Context, d registry.Dependency) error {
	if _, err := registry.ParseDependency(string(d)); err != nil {
		return err
	}
	err := c.tell(ctx, registry.ErrNotExist, func(l *link) error { return c.remove(ctx, l, c.path(d.Pointer())) })
	if err != nil {
		return fmt.Errorf("delete dependency %s: %w", d, err)
	}
	return nil
}

// Link adds an edge. ErrNotExist if there is no such dependency, or the edge leads to a name without a metaconfig or to a
// dependency that does not exist; ErrExist if it is there. Cycles are stored.
func (c *Client) Link(ctx context.Context, d registry.Dependency, e registry.Edge) error {
	if err := checkLink(d, e); err != nil {
		return err
	}
	target := registry.Name(e).Metaconfig()
	if nested, ok := e.Dependency(); ok {
		target = nested.Pointer()
	}
	err := c.tell(ctx, registry.ErrExist, func(l *link) error {
		_, err := multi(ctx, l,
			&zk.CheckVersionRequest{Path: c.path(d.Pointer()), Version: -1},
			&zk.CheckVersionRequest{Path: c.path(target), Version: -1},
			&zk.CreateRequest{Path: c.path(d.Pointer()) + "/" + string(e), Acl: c.acl},
		)
		return err
	})
	var failed *failedOp
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed) && failed.index == 1 && errors.Is(err, registry.ErrNotExist):
		return fmt.Errorf("link %s to %s: it leads nowhere: %w", e, d, err)
	}
	return fmt.Errorf("link %s to %s: %w", e, d, err)
}

func checkLink(d registry.Dependency, e registry.Edge) error {
	if _, err := registry.ParseDependency(string(d)); err != nil {
		return err
	}
	_, err := registry.ParseEdge(string(e))
	return err
}

// Unlink removes an edge. ErrNotExist if there is no such dependency or edge. An edge outlives what it leads to.
func (c *Client) Unlink(ctx context.Context, d registry.Dependency, e registry.Edge) error {
	if err := checkLink(d, e); err != nil {
		return err
	}
	err := c.tell(ctx, registry.ErrNotExist, func(l *link) error {
		return c.remove(ctx, l, c.path(d.Pointer())+"/"+string(e))
	})
	if err != nil {
		return fmt.Errorf("unlink %s from %s: %w", e, d, err)
	}
	return nil
}

// Dependencies are all of them, sorted.
func (c *Client) Dependencies(ctx context.Context) ([]registry.Dependency, error) {
	found, err := below(ctx, c, registry.Dependency("").Pointer(), registry.ParseDependency)
	if err != nil {
		return nil, fmt.Errorf("dependencies: %w", err)
	}
	return found, nil
}

// failedOp says which part of a transaction was refused, so that none of it was done.
type failedOp struct {
	index int
	err   error
}

func (f *failedOp) Error() string { return f.err.Error() }
func (f *failedOp) Unwrap() error { return f.err }

// multi is one transaction: all of the operations or none.
func multi(ctx context.Context, l *link, ops ...any) ([]zk.MultiResponse, error) {
	return do(ctx, l, func(conn *zk.Conn) ([]zk.MultiResponse, error) {
		results, err := conn.Multi(ops...)
		if err == nil || isLoss(err) {
			return results, err
		}
		// Those before the one that failed have no error of their own.
		for i, r := range results {
			if r.Error != nil {
				return nil, &failedOp{i, answer(r.Error)}
			}
		}
		return nil, err
	})
}
