package manageddata_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// TestWhatWasSetIsNobodyElsesToChange: changes that meet become one version, and the function of one is given what another has set. What it
// does to that before it fails must not stay, and the caller's own value is not its to touch.
func TestWhatWasSetIsNobodyElsesToChange(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	list := opened(manageddata.OpenList[string]("test", "list", x.options())).in(t)
	lists := opened(manageddata.OpenMappedList[string, string]("test", "lists", x.options())).in(t)
	nested := opened(manageddata.OpenMap[string, []string]("test", "nested", x.options())).in(t)
	tree := opened(manageddata.OpenJSON[map[string][]string]("test", "tree", x.options())).in(t)
	refused := errors.New("no")
	spoil := func(values []string) error {
		if len(values) > 0 {
			values[0] = "spoiled"
		}
		return refused
	}
	kinds := map[string]struct {
		set   func(context.Context, []string) error
		spoil func() error
	}{
		"list": {
			func(ctx context.Context, v []string) error { return list.Set(ctx, v) },
			func() error {
				return list.Update(ctx, func(v []string) ([]string, error) { return v, spoil(v) })
			},
		},
		"lists": {
			func(ctx context.Context, v []string) error { return lists.SetAll(ctx, map[string][]string{"k": v}) },
			func() error { return lists.Update(ctx, func(m map[string][]string) error { return spoil(m["k"]) }) },
		},
		"nested": {
			func(ctx context.Context, v []string) error { return nested.Put(ctx, "k", v) },
			func() error {
				return nested.Update(ctx, func(m map[string][]string) error { return spoil(m["k"]) })
			},
		},
		"tree": {
			func(ctx context.Context, v []string) error { return tree.Set(ctx, map[string][]string{"k": v}) },
			func() error {
				return tree.Update(ctx, func(m *map[string][]string) error { return spoil((*m)["k"]) })
			},
		},
	}
	for name, kind := range kinds {
		for range 20 {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					own := []string{"a", "b"}
					if err := kind.set(ctx, own); err != nil {
						t.Error(err)
					}
					if own[0] != "a" {
						t.Errorf("%s: the caller's value is %q", name, own)
					}
				})
				wg.Go(func() {
					if err := kind.spoil(); !errors.Is(err, refused) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	}
	x.holds("test.list", `["a", "b"]`)
	x.holds("test.lists", `{"k": ["a", "b"]}`)
	x.holds("test.nested", `{"k": ["a", "b"]}`)
	x.holds("test.tree", `{"k": ["a", "b"]}`)
}

// everything refers to itself in all the ways there are.
type everything struct {
	Map     map[string][]int
	Pointer *everything
	Any     any
	Array   [2][]int
	hidden  []int
}

func TestWhatWasSetIsCopiedWhole(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	m := opened(manageddata.OpenMap[string, everything]("test", "map", x.options())).in(t)
	make := func() everything {
		return everything{
			Map: map[string][]int{"a": {1}, "none": nil}, Pointer: &everything{Array: [2][]int{{2}, nil}},
			Any: map[string]any{"b": []any{3, nil}}, hidden: []int{4},
		}
	}
	own := make()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := m.Put(ctx, "k", own); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			_ = m.Update(ctx, func(all map[string]everything) error {
				if v := all["k"]; v.Pointer != nil {
					v.Map["a"][0], v.Pointer.Array[0][0] = 9, 9
					if any, ok := v.Any.(map[string]any); ok {
						any["b"] = 9
					}
				}
				return errors.New("no")
			})
		})
	}
	wg.Wait()
	if !reflect.DeepEqual(own, make()) {
		t.Errorf("the caller's value is %+v", own)
	}
	x.holds("test.map", `{"k": {"Any": {"b": [3, null]}, "Array": [null, null], "Map": {"a": [1], "none": null}, `+
		`"Pointer": {"Any": null, "Array": [[2], null], "Map": null, "Pointer": null}}}`)
}
