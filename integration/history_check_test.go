package integration

import (
	"testing"
	"time"
)

// TestHistoriesThatNobodyMayHave: the checker of TestLinearizable tells good histories from bad ones.
func TestHistoriesThatNobodyMayHave(t *testing.T) {
	at := func(called, returned int, p publish) publish {
		p.name, p.called, p.returned = "n", time.Duration(called)*time.Second, time.Duration(returned)*time.Second
		if p.came == "" {
			p.came = acknowledged
		}
		return p
	}
	write := func(value string) publish { return publish{gesture: "write", value: value} }
	change := func(base, value, came string) publish {
		return publish{gesture: "change", base: base, value: value, came: came}
	}
	look := at(100, 101, publish{gesture: "look", value: "b;"})
	for _, h := range []struct {
		name    string
		good    bool
		history []publish
	}{
		{"one after the other", true, []publish{at(0, 1, write("a;")), at(2, 3, write("b;")), look}},
		{"at once, the first wins", true, []publish{at(0, 3, write("b;")), at(1, 2, write("a;")), look}},
		{"an older one wins", false, []publish{at(0, 1, write("b;")), at(2, 3, write("a;")), look}},
		{"a lost update", false, []publish{at(0, 1, write("a;")), at(2, 5, change("a;", "c;", "")), at(3, 4, change("a;", "b;", "")), look}},
		{"one of two changes is lost", true, []publish{at(0, 1, write("a;")), at(2, 5, change("a;", "c;", lost)), at(3, 4, change("a;", "b;", "")), look}},
		{"a change is lost to nobody", false, []publish{at(0, 1, write("b;")), at(2, 3, change("b;", "c;", lost)), look}},
		{"an unknown one has not happened", true, []publish{at(0, 1, write("b;")), at(2, 3, change("b;", "c;", unknown)), look}},
		{"an unknown one has happened, late", true, []publish{at(0, 1, publish{gesture: "write", value: "b;", came: unknown}), at(2, 3, write("a;")), look}},
		{"a refused one has happened", false, []publish{at(0, 1, write("a;")), at(2, 3, publish{gesture: "write", value: "b;", came: refused}), look}},
		{"an append to what was gone", false, []publish{at(0, 1, write("a;")), at(2, 3, write("c;")),
			at(4, 5, publish{gesture: "append", value: "d;", made: "a;d;"}), at(6, 7, write("b;")), look}},
	} {
		if err := linearizable(h.history, time.Minute); (err == nil) != h.good {
			t.Errorf("%s: %v", h.name, err)
		}
	}
}
