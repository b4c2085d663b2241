// Package registrytest is the conformance suite of registries: what KingPin expects of one, as tests that each implementation runs.
//
// It is written for a registry behind a network. Each test has two clients of one registry; what one has done the other sees
// at some time, not at once; an Order is compared with others of the same node, never with a number; and nothing is timed: what
// never comes fails after a deadline, and how fast it comes is for benchmarks to say.
package registrytest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// Registry is the union of what the parts of KingPin ask of a registry; each of them declares the few methods that it calls.
// An implementation may be put together from two, one for the nodes and one for the bodies.
type Registry interface {
	Pointers
	Serversets
	Dependencies
	Acceptances
	Bodies
}

// Feeds (Watch, Members, Dependency) are level-triggered: they yield the present state at once, then block until it differs from
// what they yielded last. States in between may be skipped; an older one than was yielded never comes. A node that does not exist
// is a state that does not Exist, whose Order says nothing. An error is a passing trouble: the feed goes on, and the next state comes
// whether it has changed or not. A feed ends, without an error, when ctx is done or its consumer breaks.

// Pointers are the nodes that hold a version.
type Pointers interface {
	// Watch feeds the state of one pointer.
	Watch(ctx context.Context, p registry.Pointer) iter.Seq2[registry.State, error]

	// State is the present state of one pointer; it is no error if there is none.
	State(ctx context.Context, p registry.Pointer) (registry.State, error)

	// Create makes a pointer with an empty version. ErrExist; ErrInvalid for what is no path.
	Create(ctx context.Context, p registry.Pointer) error

	// Delete removes a pointer. ErrNotExist; ErrNotEmpty if there are others below it or members are present.
	Delete(ctx context.Context, p registry.Pointer) error

	// Advance moves a pointer from version base to next, if it is at base, and returns the new state. ErrConflict if it is at
	// another, and then a State that exists is the present one; ErrNotExist; ErrInvalid if next is empty, malformed or base.
	// index, unless nil, is called after the commit and before any other client advances the same pointer; its error is not
	// returned.
	Advance(ctx context.Context, p registry.Pointer, base, next registry.Version, index func(context.Context) error) (registry.State, error)

	// Move is Advance with more to do around it. The pointer does not move before store has succeeded; its error is Move's, and then
	// nothing has moved. Its ctx ends when the move has failed otherwise. moved is told the state, and is otherwise an index.
	// Either may be nil.
	Move(ctx context.Context, p registry.Pointer, base, next registry.Version, store func(context.Context) error,
		moved func(context.Context, registry.State) error) (registry.State, error)

	// Names are those whose metaconfig pointer exists, sorted.
	Names(ctx context.Context) ([]registry.Name, error)
}

// Serversets are the nodes that have members.
type Serversets interface {
	// Members feeds who is in a serverset.
	Members(ctx context.Context, n registry.Name) iter.Seq2[registry.Membership, error]

	// Join registers a member, blocks until ctx is done, and takes the member out again: nil then. An empty Node means a fresh
	// one. ErrNotExist if there is no such serverset, ErrExist if the Node is taken, ErrInvalid for what old readers could not
	// read.
	Join(ctx context.Context, n registry.Name, m registry.Member) error

	// Keep is Join for a member that may say something else later. What it says is there before Told hears of it.
	Keep(ctx context.Context, n registry.Name, k registry.Keeping) error
}

// Dependencies are named sets of edges.
type Dependencies interface {
	// Dependency feeds the edges of one dependency, sorted.
	Dependency(ctx context.Context, d registry.Dependency) iter.Seq2[registry.Edges, error]

	// CreateDependency makes an empty one. ErrExist.
	CreateDependency(ctx context.Context, d registry.Dependency) error

	// DeleteDependency removes an empty one. ErrNotExist, ErrNotEmpty.
	DeleteDependency(ctx context.Context, d registry.Dependency) error

	// Link adds an edge. ErrNotExist if there is no such dependency, or the edge leads to a name without metaconfig or to a
	// dependency that does not exist; ErrExist if it is there. Cycles are stored.
	Link(ctx context.Context, d registry.Dependency, e registry.Edge) error

	// Unlink removes an edge. ErrNotExist if there is no such dependency or edge. An edge outlives what it leads to.
	Unlink(ctx context.Context, d registry.Dependency, e registry.Edge) error

	// Dependencies are all of them, sorted.
	Dependencies(ctx context.Context) ([]registry.Dependency, error)
}

// Acceptances are what operators believe of serversets.
type Acceptances interface {
	// Acceptances feeds all that there are, sorted by name; also some that are over. There being no node for them is having none.
	Acceptances(ctx context.Context) iter.Seq2[registry.Acceptances, error]

	// PutAcceptance notes one in place of the present one of the same serverset; one that is over only ends that. ErrInvalid.
	PutAcceptance(ctx context.Context, a registry.Acceptance) error
}

// Bodies are the published bytes.
type Bodies interface {
	// Put stores a body for ever. The same bytes again are fine and keep the first Meta; other bytes are ErrExist.
	Put(ctx context.Context, key string, b registry.Body) error

	// Fetch returns what was put, as soon as Put has returned, to every client. ErrNotExist; ErrChecksum if Meta tells of other
	// bytes.
	Fetch(ctx context.Context, key string) (registry.Body, error)

	// PutIndex notes the current version for readers that cannot reach the pointer, over what was there.
	PutIndex(ctx context.Context, key string, v registry.Version) error

	// List is the last bodies, at most so many, whose keys are prefix, a digit and anything, in descending order of the keys, which
	// for the versions of one name is from the newest on. Their Meta may be left out.
	List(ctx context.Context, prefix string, most int) ([]registry.Stored, error)

	// Stat is what Fetch would return, without the bytes, and says how many they are. ErrNotExist.
	Stat(ctx context.Context, key string) (registry.Stored, error)
}

// Test runs the suite. open returns two clients of one fresh, empty registry, which it closes by t.Cleanup; an implementation
// without a network returns the same client twice.
func Test(t *testing.T, open func(t *testing.T) (a, b Registry)) {
	for _, group := range []map[string]func(*testing.T, Registry, Registry){
		pointerTests, stepTests, raceTests, feedTests, changesTests, memberTests, keepTests, dependencyTests, acceptTests, bodyTests, contextTests,
	} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			t.Run(name, func(t *testing.T) {
				a, b := open(t)
				group[name](t, a, b)
			})
		}
	}
}
