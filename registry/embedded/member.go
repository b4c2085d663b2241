package embedded

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// set is who is in one serverset. It stays when it is empty: its order must not be forgotten.
type set struct {
	members []registry.Member // sorted; replaced, never changed
	order   registry.Order    // of the last coming or going
}

// Members yields who is in a serverset as Watch does the state of a pointer.
func (r *Registry) Members(ctx context.Context, n registry.Name) iter.Seq2[registry.Membership, error] {
	return feed(ctx, r, n.Pointer(), func() (registry.Membership, error) { return r.membership(n) },
		func(a, b registry.Membership) bool {
			return a.Exists == b.Exists && a.Order == b.Order // nobody comes or goes without the order
		})
}

// membership is of the order in which its node was made, or the file was opened and everybody was gone, or the last member came
// or went: the latest of the three.
func (r *Registry) membership(n registry.Name) (m registry.Membership, err error) {
	err = r.view(func(v *view) error {
		node, ok, err := v.node(n.Pointer())
		if ok {
			m = registry.Membership{Exists: true, Order: max(node.created, r.opened)}
		}
		return err
	})
	if !m.Exists || err != nil {
		return m, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sets[n]; s != nil {
		m.Order = max(m.Order, s.order)
		m.Members = slices.Clone(s.members)
	}
	return m, nil
}

// present is how many members the serverset at p has.
func (r *Registry) present(p registry.Pointer) int {
	name := registry.Name(strings.ReplaceAll(strings.TrimPrefix(string(p), "/"), "/", "."))
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sets[name]; s != nil {
		return len(s.members)
	}
	return 0
}

// Join registers m in a serverset, waits until ctx is done, and takes it out again: nil then. An empty Node gets a fresh one, a zero
// Since is now. ErrNotExist if there is no such serverset, ErrExist if its Node is taken; ErrClosed when the registry is closed
// meanwhile. A member is never written to the file: it goes with the process.
func (r *Registry) Join(ctx context.Context, n registry.Name, m registry.Member) error {
	return r.Keep(ctx, n, registry.Once(m))
}

// Keep is Join for a member that may say something else later, and for who wants to know how it stands. An earlier life of the process
// has left nothing behind.
func (r *Registry) Keep(ctx context.Context, n registry.Name, k registry.Keeping) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("join %s: %w", n, err)
	}
	var present *registry.Member
	defer func() {
		if present != nil {
			r.exit(n, *present)
		}
	}()
	for {
		select {
		case m := <-k.Wanted:
			m, err := complete(m)
			if err == nil {
				err = r.enter(ctx, n, m, present)
			}
			switch {
			case err == nil:
				present = &m
			case present == nil:
				return fmt.Errorf("join %s: %w", n, err)
			}
			k.Tell(m.Node, err)
		case <-ctx.Done():
			return nil
		case <-r.closing:
			return fmt.Errorf("join %s: %w", n, r.errorf("%w", ErrClosed))
		}
	}
}

// complete adds what was left open.
func complete(m registry.Member) (registry.Member, error) {
	if m.Node == "" {
		m.Node = registry.MemberNode(m.Endpoint)
	}
	if m.Since.IsZero() {
		m.Since = time.Now().UTC()
	}
	m.Labels = maps.Clone(m.Labels)
	return m, checkMember(m)
}

// checkMember refuses what could not be stored where old readers look.
func checkMember(m registry.Member) error {
	data, err := registry.FormatMember(m)
	if err != nil {
		return err
	}
	stored, err := registry.ParseMember(m.Node, data)
	if err != nil {
		return err
	}
	if stored.Endpoint != m.Endpoint || strings.Contains(m.Node, "/") {
		return fmt.Errorf("member node %q is not one of %s: %w", m.Node, m.Endpoint, registry.ErrInvalid)
	}
	return nil
}

// enter holds the token, so that the serverset is not deleted between the look and the entry. It writes only when the orders run
// out. before makes room for m, if there was one.
func (r *Registry) enter(ctx context.Context, n registry.Name, m registry.Member, before *registry.Member) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case r.token <- struct{}{}:
		defer func() { <-r.token }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := r.view(func(v *view) error {
		_, ok, err := v.node(n.Pointer())
		if err == nil && !ok {
			return fmt.Errorf("serverset %s: %w", n, registry.ErrNotExist)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.extend(2); err != nil { // one to enter, one to exit
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sets[n]
	if s == nil {
		s = &set{}
		r.sets[n] = s
	}
	if slices.ContainsFunc(s.members, func(other registry.Member) bool { return other.Node == m.Node }) {
		return fmt.Errorf("member node %s: %w", m.Node, registry.ErrExist)
	}
	members := slices.Clone(s.members)
	if before == nil {
		r.joined++
	} else {
		members = slices.DeleteFunc(members, func(other registry.Member) bool { return other.Node == before.Node })
	}
	s.replace(append(members, m), r.next)
	r.next++
	r.ringLocked(n.Pointer())
	return nil
}

// exit cannot fail: its order was set aside when m entered.
func (r *Registry) exit(n registry.Name, m registry.Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sets[n]
	r.joined--
	s.replace(slices.DeleteFunc(slices.Clone(s.members), func(other registry.Member) bool { return other.Node == m.Node }), r.next)
	r.next++
	r.ringLocked(n.Pointer())
}

func (s *set) replace(members []registry.Member, order registry.Order) {
	slices.SortFunc(members, func(a, b registry.Member) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	})
	s.members, s.order = members, order
}
