package manageddata_test

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// The structures against plain maps and slices: any sequence of operations, each checked in memory, in the file, and by somebody who
// opens the file afterwards.

var (
	someKey  = rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "c", "", "é", "\u2028", "😀", "A"}), rapid.String())
	someItem = rapid.SampledFrom([]string{"x", "y", "z", "", "ü", "10.0.0.1:80"})
)

func same(t *rapid.T, path string, value any) {
	t.Helper()
	want, err := registry.FormatJSON(value)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err == nil && string(got) != string(want) || err != nil && string(want) != "{}" && string(want) != "[]" {
		t.Fatalf("the file holds %s and not %s: %v", got, want, err)
	}
}

func fatal(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMapIsAMap(t *testing.T) {
	x, at := newTree(t), 0
	rapid.Check(t, func(t *rapid.T) {
		at++
		key, ctx := fmt.Sprint("map", at), t.Context()
		m, err := manageddata.OpenMap[string, int]("model", key, x.options())
		fatal(t, err)
		defer m.Close()
		model := map[string]int{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := someKey.Draw(t, "k"), rapid.Int().Draw(t, "v")
				model[k] = v
				fatal(t, m.Put(ctx, k, v))
			},
			"put all": func(t *rapid.T) {
				values := rapid.MapOfN(someKey, rapid.Int(), 0, 5).Draw(t, "values")
				maps.Copy(model, values)
				fatal(t, m.PutAll(ctx, values))
			},
			"remove": func(t *rapid.T) {
				keys := rapid.SliceOfN(someKey, 0, 3).Draw(t, "keys")
				for _, k := range keys {
					delete(model, k)
				}
				fatal(t, m.Remove(ctx, keys...))
			},
			"set": func(t *rapid.T) {
				model = rapid.MapOfN(someKey, rapid.Int(), 0, 5).Draw(t, "values")
				fatal(t, m.Set(ctx, model))
				model = maps.Clone(model)
			},
			"clear": func(t *rapid.T) {
				clear(model)
				fatal(t, m.Clear(ctx))
			},
			"": func(t *rapid.T) {
				if got := maps.Collect(m.View().All()); !maps.Equal(got, model) {
					t.Fatalf("%v and not %v", got, model)
				}
				for k, v := range model {
					if got, ok := m.Value(k); got != v || !ok {
						t.Fatalf("%q is %d, %v", k, got, ok)
					}
				}
				same(t, x.path("model."+key), model)
			},
		})
	})
}

func TestListIsASlice(t *testing.T) {
	x, at := newTree(t), 0
	rapid.Check(t, func(t *rapid.T) {
		at++
		key, ctx := fmt.Sprint("list", at), t.Context()
		l, err := manageddata.OpenList[string]("model", key, x.options())
		fatal(t, err)
		defer l.Close()
		var model []string
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				items, added := rapid.SliceOfN(someItem, 0, 4).Draw(t, "items"), 0
				for _, item := range items {
					if !slices.Contains(model, item) {
						model, added = append(model, item), added+1
					}
				}
				n, err := l.Add(ctx, items...)
				if fatal(t, err); n != added {
					t.Fatalf("%d of %d were added", n, added)
				}
			},
			"remove": func(t *rapid.T) {
				items, before := rapid.SliceOfN(someItem, 0, 2).Draw(t, "items"), len(model)
				model = slices.DeleteFunc(model, func(item string) bool { return slices.Contains(items, item) })
				n, err := l.Remove(ctx, items...)
				if fatal(t, err); n != before-len(model) {
					t.Fatalf("%d of %d were removed", n, before-len(model))
				}
			},
			"set": func(t *rapid.T) {
				model = rapid.SliceOfN(someItem, 0, 5).Draw(t, "items")
				fatal(t, l.Set(ctx, model))
				model = slices.Clone(model)
			},
			"reverse": func(t *rapid.T) {
				slices.Reverse(model)
				fatal(t, l.Update(ctx, func(items []string) ([]string, error) { slices.Reverse(items); return items, nil }))
			},
			"clear": func(t *rapid.T) {
				model = nil
				fatal(t, l.Clear(ctx))
			},
			"": func(t *rapid.T) {
				if got := l.Values(); !slices.Equal(got, model) || l.Len() != len(model) {
					t.Fatalf("%v and not %v", got, model)
				}
				for _, item := range []string{"x", "y", "z", "", "ü", "w"} {
					if l.Contains(item) != slices.Contains(model, item) {
						t.Fatalf("%q in %v: %v", item, model, l.Contains(item))
					}
				}
				shuffled := l.Shuffled()
				if slices.Sort(shuffled); !slices.Equal(shuffled, slices.Sorted(slices.Values(model))) {
					t.Fatalf("shuffled %v", shuffled)
				}
				same(t, x.path("model."+key), model)
			},
		})
	})
}

func TestMappedListIsAMapOfSlices(t *testing.T) {
	x, at := newTree(t), 0
	rapid.Check(t, func(t *rapid.T) {
		at++
		key, ctx := fmt.Sprint("lists", at), t.Context()
		o := x.options()
		o.Duplicates = rapid.Bool().Draw(t, "duplicates")
		m, err := manageddata.OpenMappedList[string, string]("model", key, o)
		fatal(t, err)
		defer m.Close()
		model := map[string][]string{}
		tidy := func(list []string) []string {
			var tidied []string
			for _, item := range list {
				if o.Duplicates || !slices.Contains(tidied, item) {
					tidied = append(tidied, item)
				}
			}
			return tidied
		}
		keys, lists := rapid.SampledFrom([]string{"k", "l", "é"}), rapid.SliceOfN(someItem, 0, 4)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k, items := keys.Draw(t, "k"), lists.Draw(t, "items")
				model[k] = tidy(append(slices.Clone(model[k]), items...))
				fatal(t, m.Add(ctx, k, items...))
			},
			"remove": func(t *rapid.T) {
				k, item := keys.Draw(t, "k"), someItem.Draw(t, "item")
				if list, ok := model[k]; ok {
					left := slices.Clone(list)
					for i := slices.Index(left, item); i >= 0; i = slices.Index(left, item) {
						if left = slices.Delete(left, i, i+1); o.Duplicates {
							break
						}
					}
					model[k] = left
				}
				fatal(t, m.Remove(ctx, k, item))
			},
			"set": func(t *rapid.T) {
				k, items := keys.Draw(t, "k"), lists.Draw(t, "items")
				model[k] = tidy(items)
				fatal(t, m.Set(ctx, k, items))
			},
			"set all": func(t *rapid.T) {
				all := rapid.MapOfN(keys, lists, 0, 3).Draw(t, "all")
				clear(model)
				for k, list := range all {
					model[k] = tidy(list)
				}
				fatal(t, m.SetAll(ctx, all))
			},
			"remove a list": func(t *rapid.T) {
				k := keys.Draw(t, "k")
				delete(model, k)
				fatal(t, m.RemoveList(ctx, k, "nobody"))
			},
			"clear": func(t *rapid.T) {
				clear(model)
				fatal(t, m.Clear(ctx))
			},
			"": func(t *rapid.T) {
				if m.View().Len() != len(model) {
					t.Fatalf("%d lists and not %v", m.View().Len(), model)
				}
				for k, list := range model {
					if got := m.List(k); !slices.Equal(got, list) {
						t.Fatalf("%s is %v and not %v", k, got, list)
					}
					if m.Contains(k, "x") != slices.Contains(list, "x") || len(m.Found(k, "x", "w")) > 0 != slices.Contains(list, "x") {
						t.Fatalf("x in %v: %v", list, m.Contains(k, "x"))
					}
				}
				same(t, x.path("model."+key), model)
			},
		})
	})
}

func TestJSONAndRawAreWhatWasSetLast(t *testing.T) {
	type setting struct {
		Name  string             `json:"name"`
		On    bool               `json:"on"`
		Rates map[string]float64 `json:"rates"`
	}
	x, at := newTree(t), 0
	values := rapid.Custom(func(t *rapid.T) setting {
		return setting{someKey.Draw(t, "name"), rapid.Bool().Draw(t, "on"),
			rapid.MapOfN(someKey, rapid.Float64Range(-1e6, 1e6), 1, 3).Draw(t, "rates")}
	})
	rapid.Check(t, func(t *rapid.T) {
		at++
		key, ctx := fmt.Sprint("json", at), t.Context()
		j, err := manageddata.OpenJSON[setting]("model", key, x.options())
		fatal(t, err)
		defer j.Close()
		raw, err := manageddata.OpenRaw("model", key, x.options())
		fatal(t, err)
		defer raw.Close()
		var model setting
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				model = values.Draw(t, "value")
				fatal(t, j.Set(ctx, model))
			},
			"update": func(t *rapid.T) {
				name := someKey.Draw(t, "name")
				model.Name = name
				fatal(t, j.Update(ctx, func(s *setting) error { s.Name = name; return nil }))
			},
			"set raw": func(t *rapid.T) {
				model = values.Draw(t, "value")
				body, err := registry.FormatJSON(model)
				fatal(t, err)
				fatal(t, raw.Set(ctx, string(body)))
				fatal(t, j.Refresh(ctx))
			},
			"": func(t *rapid.T) {
				if got, _ := j.Value(); !reflect.DeepEqual(got, model) {
					t.Fatalf("%+v and not %+v", got, model)
				}
				fatal(t, raw.Refresh(ctx))
				body, _ := raw.Value()
				file, _ := os.ReadFile(x.path("model." + key))
				if body != string(file) {
					t.Fatalf("raw is %q and the file %q", body, file)
				}
			},
		})
	})
}
