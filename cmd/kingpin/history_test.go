package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// versionsSay are versions that say what they replaced.
func versionsSay(replaces map[registry.Version]string) func(registry.Version) (pastVersion, error) {
	return func(v registry.Version) (pastVersion, error) {
		before, ok := replaces[v]
		if !ok {
			return pastVersion{}, registry.ErrNotExist
		}
		return pastVersion{Version: string(v), Replaces: before}, nil
	}
}

func TestLineageIsWhatWasCurrent(t *testing.T) {
	type versions = []registry.Version
	for name, c := range map[string]struct {
		stored  versions
		current registry.Version
		most    int
		says    map[registry.Version]string
		want    versions
	}{
		"nothing":           {nil, "", 9, nil, nil},
		"never written":     {versions{"1"}, "", 9, nil, nil},
		"one after another": {versions{"3", "2", "1"}, "3", 9, map[registry.Version]string{"3": "2", "2": "1", "1": ""}, versions{"3", "2", "1"}},
		"not so many":       {versions{"3", "2", "1"}, "3", 2, map[registry.Version]string{"3": "2", "2": "1", "1": ""}, versions{"3", "2"}},
		"losers of races":   {versions{"6", "5", "4", "3", "2", "1"}, "5", 9, map[registry.Version]string{"6": "5", "5": "2", "4": "2", "3": "2", "2": "1", "1": ""}, versions{"5", "2", "1"}},
		"of the old system": {versions{"3", "2", "1"}, "3", 9, map[registry.Version]string{"3": "", "2": "", "1": ""}, versions{"3", "2", "1"}},
		"then of ours":      {versions{"4", "3", "2", "1"}, "4", 9, map[registry.Version]string{"4": "2", "3": "2", "2": "", "1": ""}, versions{"4", "2", "1"}},
		"some are gone":     {versions{"4", "2"}, "4", 9, map[registry.Version]string{"4": "3", "2": ""}, versions{"4", "2"}},
		"not listed yet":    {versions{"2", "1"}, "3", 9, map[registry.Version]string{"3": "2", "2": "1", "1": ""}, versions{"3", "2", "1"}},
	} {
		line, err := lineage(c.stored, c.current, c.most, versionsSay(c.says))
		var got versions
		for i, p := range line {
			got = append(got, registry.Version(p.Version))
			if p.Current != (i == 0) {
				t.Errorf("%s: %s is current: %v", name, p.Version, p.Current)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	if _, err := lineage(inOrder("2", "1"), "2", 9, versionsSay(nil)); !errors.Is(err, registry.ErrNotExist) {
		t.Error(err)
	}
}

func inOrder(all ...registry.Version) []registry.Version { return all }
