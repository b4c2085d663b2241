package registry

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTheFileOfADecider(t *testing.T) {
	for percent := range 101 {
		file := FormatDecider(percent)
		if got, err := ParseDecider(file); err != nil || got != percent || !bytes.HasSuffix(file, []byte("\n")) {
			t.Errorf("%d is %q, and that is %d, %v", percent, file, got, err)
		}
	}
	for _, file := range []string{"42", "42\n", " 42\r\n", "\t42 \n\n"} {
		if got, err := ParseDecider([]byte(file)); err != nil || got != 42 {
			t.Errorf("%q: %d, %v", file, got, err)
		}
	}
	for file, word := range map[string]string{
		"250\n": "250", "101": "101", "-1": "-1", "": `""`, "\n": `""`, "4 2": `"4 2"`, "42%": `"42%"`, "1.5": `"1.5"`, "+5": `"+5"`, "1e1": "1e1",
		"0x10": "0x10", "007": "007", "on": "on", "\x00\x1b[2J": `"\x00\x1b[2J"`, "999999999999999999999": "999999999999999999999",
	} {
		_, err := ParseDecider([]byte(file))
		if want := word + " is not a whole number from 0 to 100: "; !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
	if _, err := ParseDecider(make([]byte, 1<<20)); !errors.Is(err, ErrInvalid) || len(err.Error()) > 100 {
		t.Errorf("%v", err)
	}
}

func TestADeciderMapIsReadAsPatientlyAsPythonDoes(t *testing.T) {
	for _, test := range []struct {
		body string
		want map[string]int
	}{
		{"", map[string]int{}},
		{"\n", map[string]int{}},
		{"{}", map[string]int{}},
		{`{"exp_new_home": 80, "other_exp": 0}`, map[string]int{"exp_new_home": 80, "other_exp": 0}},
		{`{"half": 12.5, "whole": 7.0, "e": 1e1, "none": -0.5}`, map[string]int{"half": 13, "whole": 7, "e": 10, "none": 0}},
		{`{"over": 250, "under": -3, "huge": 1e999, "nan": NaN, "inf": Infinity}`, map[string]int{"over": 100, "under": 0, "huge": 100, "nan": 0, "inf": 100}},
		{`{"on": true, "off": false}`, map[string]int{"on": 1, "off": 0}},
		{`{"kill_switch": 0, "s": "50", "n": null, "l": [], "../x": 5, "Upper": 5, "a/b": 5, "": 5}`, map[string]int{"kill_switch": 0}},
	} {
		if got, err := ParseDeciders([]byte(test.body)); err != nil || !maps.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", test.body, got, err, test.want)
		}
	}
	for _, body := range []string{"[]", "null", "7", `{"a": 1`, "{a: 1}", "\xff", "garbage"} {
		if got, err := ParseDeciders([]byte(body)); !errors.Is(err, ErrInvalid) || got != nil {
			t.Errorf("%q: %v, %v", body, got, err)
		}
	}
	if _, err := ParseDeciders(make([]byte, maxDeciders+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestABrokenDeciderIsNotAMissingOne(t *testing.T) {
	got := UnreadableDeciders([]byte(`{"word": "50", "fine": 1, "half": 12.5, "nothing": null, "Upper": "x"}`))
	if !slices.Equal(got, []string{"nothing", "word"}) {
		t.Errorf("%q", got)
	}
	if got := UnreadableDeciders([]byte("[]")); got != nil {
		t.Errorf("%q", got)
	}
}

func TestPublishingADeciderMapNamesWhatIsWrongInIt(t *testing.T) {
	for _, good := range []string{"", "{}", `{"a": 0, "b": 100}`, ` { "a":42 } `} {
		if err := CheckDeciders([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	err := CheckDeciders([]byte(`{"fine": 1, "half": 12.5, "over": 250, "word": "50", "Upper": 5}`))
	if !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	for _, name := range []string{"half", "over", "word", "Upper"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "fine") {
		t.Errorf("fine is named: %v", err)
	}
	if err := CheckDeciders([]byte("[]")); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestSettingOneDeciderLeavesTheOthersToTheLastDigit(t *testing.T) {
	body := []byte(`{"b": 12.5, "a": 1, "note": "caf\u00e9", "big": 100000000000000000000, "c": true}`)
	got, err := SetDecider(body, "a", 7)
	want := `{"a": 7, "b": 12.5, "big": 100000000000000000000, "c": true, "note": "caf\u00e9"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	if same, err := SetDecider(body, "a", 1); err != nil || !bytes.Equal(same, body) {
		t.Errorf("the same percent again gave %s, %v", same, err)
	}
	if first, err := SetDecider(nil, "new_ranker", 42); err != nil || string(first) != `{"new_ranker": 42}` {
		t.Errorf("the first decider gave %s, %v", first, err)
	}
	if less, err := RemoveDecider(got, "b"); err != nil || string(less) != `{"a": 7, "big": 100000000000000000000, "c": true, "note": "caf\u00e9"}` {
		t.Errorf("without b it is %s, %v", less, err)
	}
	if _, err := RemoveDecider(got, "nobody"); !errors.Is(err, ErrNotExist) {
		t.Error(err)
	}
	for _, percent := range []int{-1, 101} {
		if _, err := SetDecider(body, "a", percent); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	if _, err := SetDecider(body, "A", 1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := SetDecider([]byte("[]"), "a", 1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestManyEditsOfDecidersAreTheMapTheyDescribe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		want := map[string]int{}
		for range rapid.IntRange(1, 30).Draw(t, "edits") {
			name := rapid.StringMatching(`[a-e]`).Draw(t, "name")
			var err error
			if _, there := want[name]; there && rapid.Bool().Draw(t, "remove") {
				delete(want, name)
				body, err = RemoveDecider(body, name)
			} else {
				want[name] = rapid.IntRange(0, 100).Draw(t, "percent")
				body, err = SetDecider(body, name, want[name])
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseDeciders(body)
			if err != nil || !maps.Equal(got, want) || !bytes.Equal(body, FormatDeciders(want)) || CheckDeciders(body) != nil {
				t.Fatalf("%s, %v; want %v", body, err, want)
			}
		}
	})
}

func FuzzParseDeciders(f *testing.F) {
	for _, s := range []string{"", "{}", `{"exp_new_home": 80, "other_exp": 0}`, `{"a": 12.5, "b": true, "c": "x", "\ud800": 1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		percents, err := ParseDeciders(data)
		if err != nil {
			return
		}
		for _, name := range UnreadableDeciders(data) {
			if _, read := percents[name]; read {
				t.Errorf("%q is read and unreadable", name)
			}
		}
		for name, percent := range percents {
			if _, err := ParseDeciderName(name); err != nil || percent < 0 || percent > 100 {
				t.Errorf("%q: %d", name, percent)
			}
		}
		if back, err := ParseDeciders(FormatDeciders(percents)); err != nil || !maps.Equal(back, percents) {
			t.Errorf("%v came back as %v, %v", percents, back, err)
		}
		changed, err := SetDecider(data, "kill_switch", 0)
		if err != nil {
			t.Fatal(err)
		}
		percents["kill_switch"] = 0
		if after, err := ParseDeciders(changed); err != nil || !maps.Equal(after, percents) {
			t.Errorf("%q became %q, which is %v, %v", data, changed, after, err)
		}
	})
}

// TestContinueDecider writes byte by byte, as dd bs=1 does.
func TestContinueDecider(t *testing.T) {
	for _, tt := range []struct {
		lines   string
		refused string // what is in the file when it is; "": never
	}{
		{"42\n", ""}, {"0\n", ""}, {"100\n", ""}, {"\t 7 \n", ""}, {"7\n\n", ""},
		{"250\n", "250"}, {"101\n", "101"}, {"00\n", "00"}, {"\n", "\n"}, {"4x\n", "4x"}, {"-1\n", "-"}, {"1e1\n", "1e"},
		{"42\n43\n", "42\n4"}, {strings.Repeat(" ", 65), strings.Repeat(" ", 65)},
	} {
		for end := range len(tt.lines) + 1 {
			written := tt.lines[:end]
			complete, err := ContinueDecider([]byte(written))
			if refused := written == tt.refused && end > 0; refused != (err != nil) {
				t.Errorf("%q: %v, want refusal %v", written, err, refused)
			}
			if err != nil {
				break
			}
			if complete != strings.HasSuffix(written, "\n") {
				t.Errorf("%q: complete %v", written, complete)
			}
		}
	}
}

func FuzzParseDecider(f *testing.F) {
	for _, s := range []string{"42\n", "250", " 7 ", "0", "00", "1e2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		percent, err := ParseDecider(data)
		if err == nil && !bytes.Equal(FormatDecider(percent), append(bytes.TrimSpace(data), '\n')) {
			t.Errorf("%q is %d", data, percent)
		}
	})
}
