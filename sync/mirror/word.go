package mirror

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// askTimeout bounds one question to the registry that nobody waits for.
const askTimeout = 10 * time.Second

// word is the last that the registry said about a name. Of a config it has the version, of a serverset who serves it.
type word struct {
	heard   bool // something was said since the start
	exists  bool
	order   registry.Order
	version registry.Version
	serving []registry.Member // sorted by endpoint, each once
	members []byte            // the file that would show them
}

// equal says that two words ask for the same.
func (w word) equal(other word) bool {
	return w.heard == other.heard && w.exists == other.exists && w.order == other.order &&
		w.version == other.version && bytes.Equal(w.members, other.members)
}

func stateWord(s registry.State) word {
	return word{heard: true, exists: s.Exists, order: s.Order, version: s.Version}
}

func membershipWord(m registry.Membership) word {
	return word{
		heard: true, exists: m.Exists, order: m.Order, serving: roster(m.Members), members: registry.FormatServerset(m.Members),
	}
}

// hearChanges has every name read again that the registry says has changed, if it is one that says so.
func (m *Mirror) hearChanges(ctx context.Context) {
	for failures := 1; m.changes != nil && ctx.Err() == nil; failures++ {
		for nodes, err := range m.changes.Changes(ctx) {
			m.outcome(registrySide, err)
			switch {
			case err != nil:
			case nodes == nil:
				m.health.losses.Add(1)
				m.refresh()
			default:
				for _, p := range nodes {
					m.refresh(nameOf(p))
				}
			}
		}
		pause(ctx, backoff(failures)) // a feed that ends by itself is started again
	}
}

// nameOf is the name whose node p would be.
func nameOf(p registry.Pointer) registry.Name {
	return registry.Name(strings.ReplaceAll(strings.TrimPrefix(string(p), "/"), "/", "."))
}

// follow hears what the registry says about a name, until ctx is done. It is one goroutine a name: its stack stays shallow, the work
// is the queue's.
func (m *Mirror) follow(ctx context.Context, f *follower) {
	for failures := 1; ctx.Err() == nil; failures++ {
		if f.name.Kind() == registry.Serverset {
			for members, err := range m.registry.Members(ctx, f.name) {
				m.hear(f, membershipWord(members), err)
			}
		} else {
			for state, err := range m.registry.Watch(ctx, f.name.Pointer()) {
				m.hear(f, stateWord(state), err)
			}
		}
		pause(ctx, backoff(failures)) // a feed that ends by itself is started again
	}
}

// hear takes in a word about f, or the trouble in its place.
func (m *Mirror) hear(f *follower, w word, err error) {
	m.outcome(registrySide, err)
	if err != nil {
		return
	}
	m.mu.Lock()
	news := f.take(w)
	m.mu.Unlock()
	if news {
		m.queue.add(f)
	}
}

// take is hear without the lock and the queue. A word that is older than the last one is a late one, and dropped: the registry does
// not go back while it is connected.
func (f *follower) take(w word) (news bool) {
	if f.word.equal(w) || f.word.exists && w.exists && w.order < f.word.order {
		return false
	}
	f.word = w
	return true
}

// ask reads once what a feed would say now.
func (m *Mirror) ask(ctx context.Context, name registry.Name) (word, error) {
	if err := m.health.lost(registrySide); err != nil {
		return word{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var w word
	var err error
	if name.Kind() == registry.Serverset {
		var members registry.Membership
		members, err = first(ctx, m.registry.Members(ctx, name))
		w = membershipWord(members)
	} else {
		var state registry.State
		state, err = m.registry.State(ctx, name.Pointer())
		w = stateWord(state)
	}
	m.outcome(registrySide, err)
	if err != nil {
		return word{}, fmt.Errorf("ask the registry about %s: %w", name, err)
	}
	return w, nil
}

// first is what a level-triggered feed yields at once.
func first[T any](ctx context.Context, feed iter.Seq2[T, error]) (T, error) {
	for value, err := range feed {
		return value, err
	}
	var none T
	if err := context.Cause(ctx); err != nil {
		return none, err
	}
	return none, fmt.Errorf("the feed ended: %w", registry.ErrUnreachable)
}
