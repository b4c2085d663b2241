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

// lockSuffix ends the name of the node beside each pointer below which its publishers queue. The Python KingPin never removes it.
const lockSuffix = ".lock"

// Watch yields the present state of a pointer at once, then whenever it differs from the one yielded last. It may skip states but
// never yields an older Order. A pointer that does not exist is a State that does not Exist, of no Order. An error is a passing
// trouble and the feed goes on: no connection when there is no state to begin with, data that is no version, ErrEnsemble.
// Losing the connection later is none. It ends when ctx does.
func (c *Client) Watch(ctx context.Context, p registry.Pointer) iter.Seq2[registry.State, error] {
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return refuse[registry.State](ctx, err)
	}
	return feed[registry.State](ctx, c, key{c.path(p), pointer})
}

// State is the present state of a pointer, as the server that we are connected to knows it.
func (c *Client) State(ctx context.Context, p registry.Pointer) (registry.State, error) {
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return registry.State{}, err
	}
	if s, ok := c.unasked(ctx, p); ok {
		return s, nil
	}
	s, err := ask(ctx, c, func(l *link) (registry.State, error) {
		s, _, err := c.state(ctx, l, c.path(p))
		if errors.Is(err, registry.ErrNotExist) {
			return registry.State{}, nil
		}
		return s, err
	})
	if err != nil {
		return registry.State{}, fmt.Errorf("state of %s: %w", p, err)
	}
	return s, nil
}

// state reads a pointer. The stat is valid even if the data is no version.
func (c *Client) state(ctx context.Context, l *link, path string) (registry.State, *zk.Stat, error) {
	n, err := get(ctx, l, path)
	if err != nil {
		return registry.State{}, nil, err
	}
	s, err := n.state(l)
	return s, n.stat, err
}

func get(ctx context.Context, l *link, path string) (content, error) {
	return do(ctx, l, func(conn *zk.Conn) (content, error) {
		data, stat, err := conn.Get(path)
		return content{data, stat}, err
	})
}

// content is a node as it was read.
type content struct {
	data []byte
	stat *zk.Stat
}

// state treats no data and empty data alike: Python libraries differ in which of them they write.
func (n content) state(l *link) (registry.State, error) {
	v, err := registry.ParseVersion(string(n.data))
	if err != nil {
		return registry.State{}, err
	}
	return registry.State{Exists: true, Version: v, Order: registry.Order(l.order(n.stat.Mzxid))}, nil
}

func (c *Client) readState(ctx context.Context, l *link, path string) (reading, error) {
	n, err := do(ctx, l, func(conn *zk.Conn) (content, error) {
		data, stat, _, err := conn.GetW(path)
		return content{data, stat}, err
	})
	if err != nil {
		return reading{}, err
	}
	s, err := n.state(l)
	if err != nil {
		return reading{armed: data, zxid: n.stat.Mzxid}, fmt.Errorf("%s: %w", path, err)
	}
	return reading{s, data, n.stat.Mzxid}, nil
}

// ask reads from the ensemble, again on the next connection if one breaks.
func ask[T any](ctx context.Context, c *Client, read func(*link) (T, error)) (T, error) {
	for {
		l, err := c.usable(ctx)
		if err != nil {
			var none T
			return none, err
		}
		v, err := read(l)
		if !errors.Is(err, errLost) {
			return v, err
		}
	}
}

// tell changes the ensemble, again if the connection breaks before the answer. It may then find that it was done the first time,
// or that somebody else did the same at that moment: done is the error that says so, and that is as good as success.
func (c *Client) tell(ctx context.Context, done error, change func(*link) error) error {
	unknown := false
	for {
		l, err := c.usable(ctx)
		if err == nil {
			err = change(l)
		}
		switch {
		case err == nil, unknown && errors.Is(err, done):
			return nil
		case errors.Is(err, errLost):
			unknown = true
		case unknown, errors.Is(err, errAbandoned):
			return fmt.Errorf("%w: %w", registry.ErrUnknown, err)
		default:
			return err
		}
	}
}

// Create makes a pointer with an empty version, and the nodes above it. ErrExist if there is one; ErrInvalid if it is no path.
func (c *Client) Create(ctx context.Context, p registry.Pointer) error {
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	err := c.tell(ctx, registry.ErrExist, func(l *link) error { return c.make(ctx, l, c.path(p)) })
	if err != nil {
		return fmt.Errorf("create %s: %w", p, err)
	}
	return nil
}

// make creates a node without data, as Python does, and those above it if they are missing.
func (c *Client) make(ctx context.Context, l *link, path string) error {
	_, err := c.create(ctx, l, path, nil, 0)
	if !errors.Is(err, registry.ErrNotExist) {
		return err
	}
	above := path[:strings.LastIndexByte(path, '/')]
	if above == "" {
		return err
	}
	if err := c.make(ctx, l, above); err != nil && !errors.Is(err, registry.ErrExist) {
		return err
	}
	_, err = c.create(ctx, l, path, nil, 0)
	return err
}

func (c *Client) create(ctx context.Context, l *link, path string, data []byte, flags int32) (string, error) {
	return do(ctx, l, func(conn *zk.Conn) (string, error) { return conn.Create(path, data, flags, c.acl) })
}

func (c *Client) remove(ctx context.Context, l *link, path string) error {
	_, err := do(ctx, l, func(conn *zk.Conn) (struct{}, error) { return struct{}{}, conn.Delete(path, -1) })
	return err
}

func list(ctx context.Context, l *link, path string) ([]string, error) {
	return do(ctx, l, func(conn *zk.Conn) ([]string, error) {
		names, _, err := conn.Children(path)
		return names, err
	})
}

// Delete removes a pointer, and the place where its publishers queued. ErrNotExist if there is none; ErrNotEmpty if there are nodes
// below it: pointers, members, a queue of publishers.
func (c *Client) Delete(ctx context.Context, p registry.Pointer) error {
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	path := c.path(p)
	err := c.tell(ctx, registry.ErrNotExist, func(l *link) error {
		err := c.remove(ctx, l, path)
		if err == nil {
			// Whoever still queues there keeps it, and finds out that the pointer is gone.
			if err := c.remove(ctx, l, path+lockSuffix); err != nil {
				c.options.Logger.Debug("lock not removed", "path", path+lockSuffix, "err", err)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", p, err)
	}
	return nil
}

// Names are those whose metaconfig pointer exists, sorted.
func (c *Client) Names(ctx context.Context) ([]registry.Name, error) {
	names, err := below(ctx, c, registry.Name("").Metaconfig(), registry.ParseName)
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return names, nil
}

// below lists the children of a node that parse accepts, sorted. There are none below one that does not exist.
func below[T ~string](ctx context.Context, c *Client, parent registry.Pointer, parse func(string) (T, error)) ([]T, error) {
	path := c.path(registry.Pointer(strings.TrimSuffix(string(parent), "/")))
	children, err := ask(ctx, c, func(l *link) ([]string, error) { return list(ctx, l, path) })
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		return nil, err
	}
	var found []T
	for _, child := range children {
		if name, err := parse(child); err == nil {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}
