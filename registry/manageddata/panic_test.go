package manageddata_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// picky panics about some of its values, in either direction.
type picky int

func (p picky) MarshalJSON() ([]byte, error) { return []byte([...]string{"0", "1", "2"}[p]), nil }

func (p *picky) UnmarshalJSON(data []byte) error {
	*p = picky(int(data[0]) / int(data[0]-'9') * 0)
	return nil
}

// TestCodeOfTheApplicationMayPanic: it runs in our goroutines, where nobody but we can keep the process alive.
func TestCodeOfTheApplicationMayPanic(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	x.write("api.picky", `{"a": 1}`)
	m := opened(manageddata.OpenMap[string, picky]("api", "picky", x.options())).in(t)
	if err := m.Put(ctx, "b", 7); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("writing it panics: %v", err)
	}
	if err := m.Put(ctx, "b", 2); err != nil {
		t.Error(err)
	}
	x.write("api.picky", `{"a": 9}`)
	eventually(t, "reading it panics", func() bool { return m.Err() != nil })
	if m.View().Len() != 2 {
		t.Error("the last good version has gone")
	}
	o := x.options()
	o.Check = func(values map[string]int) error { _ = 1 / values["one"]; return nil }
	x.write("api.checked", `{"one": 1}`)
	checked := opened(manageddata.OpenMap[string, int]("api", "checked", o)).in(t)
	if err := checked.Put(ctx, "one", 0); !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), "divide by zero") {
		t.Errorf("Check panics: %v", err)
	}
}

// TestAFunctionMayEndItsGoroutine: as t.Fatal in it does.
func TestAFunctionMayEndItsGoroutine(t *testing.T) {
	x, ctx := newTree(t), t.Context()
	m := opened(manageddata.OpenMap[string, int]("api", "limits", x.options())).in(t)
	if err := m.Update(ctx, func(map[string]int) error { runtime.Goexit(); return nil }); err == nil {
		t.Error("it did not change anything")
	}
	if err := m.Put(ctx, "a", 1); err != nil {
		t.Error(err)
	}
}
