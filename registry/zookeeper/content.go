package zookeeper

import (
	"context"
	"fmt"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// Content is the data of a node as it is, and not a version: a config of the Python KingPin's first generation holds its bytes
// itself. ErrNotExist if there is no such node.
func (c *Client) Content(ctx context.Context, p registry.Pointer) ([]byte, error) {
	if _, err := registry.ParsePointer(string(p)); err != nil {
		return nil, err
	}
	content, err := ask(ctx, c, func(l *link) ([]byte, error) {
		return do(ctx, l, func(conn *zk.Conn) ([]byte, error) {
			content, _, err := conn.Get(c.path(p))
			return content, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("content of %s: %w", p, err)
	}
	return content, nil
}
