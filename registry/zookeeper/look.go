package zookeeper

import (
	"context"
	"errors"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// read looks at a node in its way. A node that does not exist is a value too.
func (c *Client) read(ctx context.Context, l *link, n *node, last any) (reading, error) {
	for {
		var r reading
		var err error
		switch n.kind {
		case pointer:
			r, err = c.readState(ctx, l, n.path)
		case members:
			last, _ := last.(registry.Membership)
			r, err = c.readMembers(ctx, l, n, last)
		case edges:
			last, _ := last.(registry.Edges)
			r, err = c.readEdges(ctx, l, n, last)
		case accepts:
			last, _ := last.(registry.Acceptances)
			r, err = c.readAcceptances(ctx, l, n, last)
		case presence, identity:
			r, err := readOwner(ctx, l, n.path)
			if n.kind == identity && err == nil {
				r.value = r.value.(owner).made
			}
			return r, err
		}
		if !errors.Is(err, registry.ErrNotExist) {
			return r, err
		}
		owner, err := readOwner(ctx, l, n.path)
		if err != nil {
			return reading{}, err
		}
		if owner.armed == exists {
			return reading{value: missing(n.kind), armed: exists}, nil
		}
		// It was made between the two looks.
	}
}

// missing is the value of a node that does not exist.
func missing(k kind) any {
	switch k {
	case members:
		return registry.Membership{}
	case edges:
		return registry.Edges{}
	case accepts:
		return registry.Acceptances{}
	}
	return registry.State{}
}

// owner is who has made a node.
type owner struct {
	exists  bool
	session int64 // whose end is the node's
	self    int64 // our session at that moment
	made    string
}

func readOwner(ctx context.Context, l *link, path string) (reading, error) {
	return do(ctx, l, func(conn *zk.Conn) (reading, error) {
		found, stat, _, err := conn.ExistsW(path)
		if err != nil {
			return reading{}, err
		}
		if !found {
			return reading{value: owner{self: l.session.id}, armed: exists}, nil
		}
		by := owner{exists: true, session: stat.EphemeralOwner, self: l.session.id, made: born(stat.Czxid, stat.Ctime)}
		return reading{by, data, stat.Mzxid}, nil
	})
}
