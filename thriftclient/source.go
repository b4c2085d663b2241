package thriftclient

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
)

// Source says who the hosts are: the present ones first, and again whenever they change, until ctx is over. What it yields with an
// error, or without a member, changes nothing: the last good hosts stay. A source that returns has said its last word.
type Source func(ctx context.Context) iter.Seq2[[]Member, error]

// Member is one host of a source.
type Member struct {
	Endpoint string // host:port
	Weight   int    // its share of the calls in relation to the others'; 0, unsaid, is that of the others' mean
}

// Static is a source of hosts that never change.
func Static(endpoints ...string) Source {
	return func(context.Context) iter.Seq2[[]Member, error] {
		return func(yield func([]Member, error) bool) { yield(parseEndpoints(endpoints)) }
	}
}

func parseEndpoints(endpoints []string) ([]Member, error) {
	members := make([]Member, len(endpoints))
	for i, s := range endpoints {
		e, err := registry.ParseEndpoint(s)
		if err != nil {
			return nil, fmt.Errorf("thriftclient: %w", err)
		}
		members[i] = Member{Endpoint: string(e)}
	}
	return members, nil
}

// tidy sorts members by their endpoints, each once, and gives those that say nothing of their weight that of the others' mean.
func tidy(members []Member) []Member {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(b.Weight, a.Weight))
	})
	members = slices.CompactFunc(members, func(a, b Member) bool { return a.Endpoint == b.Endpoint })
	sum, said := 0, 0
	for _, m := range members {
		if m.Weight > 0 {
			sum += m.Weight
			said++
		}
	}
	for i := range members {
		if members[i].Weight <= 0 {
			members[i].Weight = max(1, sum/max(1, said))
		}
	}
	return members
}

// subset is the part of the members that one client of many uses, where size bounds it: those that have the highest hash with the
// client's name. So clients spread evenly, each always has the same ones, and a change of the set costs it one host at most.
func subset(members []Member, size int, client string) []Member {
	if size <= 0 || len(members) <= size {
		return members
	}
	rank := func(m Member) uint64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s\x00%s", client, m.Endpoint)
		return mix(h.Sum64())
	}
	ranks := make(map[string]uint64, len(members))
	for _, m := range members {
		ranks[m.Endpoint] = rank(m)
	}
	chosen := slices.Clone(members)
	slices.SortFunc(chosen, func(a, b Member) int { return cmp.Compare(ranks[b.Endpoint], ranks[a.Endpoint]) })
	chosen = chosen[:size]
	slices.SortFunc(chosen, func(a, b Member) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
	return chosen
}

// mix spreads what is different in the low bits of FNV over all of them (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
