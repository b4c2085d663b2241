package embedded

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Acceptances yields what operators have accepted as Watch does the state of a pointer.
func (r *Registry) Acceptances(ctx context.Context) iter.Seq2[registry.Acceptances, error] {
	return feed(ctx, r, registry.AcceptRoot, r.acceptances,
		func(a, b registry.Acceptances) bool {
			return a.Order == b.Order // nothing is accepted without the order
		})
}

func (r *Registry) acceptances() (all registry.Acceptances, err error) {
	err = r.view(func(v *view) (err error) {
		all, err = v.acceptances()
		return err
	})
	return all, err
}

// acceptances are nodes whose version is what an ensemble has as their data.
func (v *view) acceptances() (all registry.Acceptances, err error) {
	prefix := registry.AcceptRoot + "/"
	for key := range v.keys(nodesBucket, []byte(prefix)) {
		n, _, err := v.node(prefix + registry.Pointer(key))
		if err != nil {
			return registry.Acceptances{}, err
		}
		if a, err := registry.ParseAcceptance(key, []byte(n.version)); err == nil {
			all.List = append(all.List, a)
		}
	}
	root, _, err := v.node(registry.AcceptRoot)
	all.Order = root.order
	return all, err
}

// PutAcceptance notes an acceptance in place of the present one of the same serverset; one that is over ends it. Those that have been over
// for long go.
func (r *Registry) PutAcceptance(ctx context.Context, a registry.Acceptance) error {
	data, err := a.Format()
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return r.commit(ctx, registry.AcceptRoot, 0, func(u *update) error {
		all, err := u.acceptances()
		if err != nil {
			return err
		}
		path := func(a registry.Acceptance) registry.Pointer {
			return registry.AcceptRoot + "/" + registry.Pointer(a.Node())
		}
		for _, old := range all.List {
			if old.Name == a.Name || old.Obsolete(time.Now()) {
				u.delete(nodesBucket, []byte(path(old)))
			}
		}
		order := u.take()
		u.put(nodesBucket, []byte(registry.AcceptRoot), node{created: order, order: order}.encode())
		if a.Until.After(a.At) {
			u.put(nodesBucket, []byte(path(a)), node{created: order, order: order, version: registry.Version(data)}.encode())
		}
		return nil
	})
}
