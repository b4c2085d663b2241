package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type level string

func (l level) MarshalText() ([]byte, error) { return []byte("level " + string(l)), nil }

func TestGoValuesInPythonsBytes(t *testing.T) {
	type limit struct {
		Zone  string `json:"zone"`
		Limit int    `json:"limit"`
		Note  string `json:"note,omitempty"`
	}
	seven := 7
	big30, _ := new(big.Int).SetString("1000000000000000000000000000000", 10)
	var none *int
	for _, test := range []struct {
		value any
		want  string
	}{
		{nil, "null"},
		{none, "null"},
		{&seven, "7"},
		{true, "true"},
		{-3, "-3"},
		{uint64(math.MaxUint64), "18446744073709551615"},
		{1.0, "1.0"},
		{float32(0.1), "0.1"},
		{big30, "1000000000000000000000000000000"},
		{json.Number("1e2"), "100.0"},
		{json.Number("-0"), "0"},
		{json.Number("-0.0"), "-0.0"},
		{json.Number("123456789012345678901234567890"), "123456789012345678901234567890"},
		{json.Number("1e999"), "Infinity"},
		{"<a href=\"/\">&</a>\u2028", `"<a href=\"/\">&</a>\u2028"`},
		{[]string(nil), "[]"},
		{[]int{1, 2}, "[1, 2]"},
		{[2]bool{true, false}, "[true, false]"},
		{map[string]int(nil), "{}"},
		{map[string]any{"b": []any{}, "a": map[string]any{}, "B": nil}, `{"B": null, "a": {}, "b": []}`},
		{map[int]string{1: "a", 10: "b", 9: "c"}, `{"1": "a", "10": "b", "9": "c"}`},
		{map[bool]int{true: 1, false: 0}, `{"false": 0, "true": 1}`},
		{map[float64]int{0.5: 1}, `{"0.5": 1}`},
		{map[level]int{"x": 1}, `{"x": 1}`},
		{[]level{"x"}, `["level x"]`},
		{Object{{"z", 1}, {"a", 2}}, `{"z": 1, "a": 2}`},
		{map[string]limit{"search": {"eu", 10, ""}}, `{"search": {"limit": 10, "zone": "eu"}}`},
		{time.Unix(0, 0).UTC(), `"1970-01-01T00:00:00Z"`},
		{json.RawMessage(`{"b":1.50,"a":2}`), `{"a": 2, "b": 1.5}`},
		{[]byte("hi"), `"aGk="`},
	} {
		got, err := FormatJSON(test.value)
		if err != nil || string(got) != test.want {
			t.Errorf("%#v: %s, %v; want %s", test.value, got, err, test.want)
		}
	}
}

func TestGoValuesThatPythonHasNoBytesFor(t *testing.T) {
	type loop struct{ Next any }
	endless := map[string]any{}
	endless["again"] = endless
	var around any
	around = &around
	for _, value := range []any{
		"\xff", map[string]int{"\xc3": 1}, make(chan int), func() {}, 1i, map[[1]int]int{{1}: 1}, json.Number(""), json.Number("1."),
		json.Number("007"), json.Number("0x1"), json.Number("Inf"), endless, around, loop{make(chan int)},
	} {
		if got, err := FormatJSON(value); !errors.Is(err, ErrInvalid) {
			t.Errorf("%T: %s, %v", value, got, err)
		}
	}
}

func TestJSONIsReadAsPythonReadsIt(t *testing.T) {
	for _, test := range []struct {
		text string
		want any
	}{
		{" null\r\n\t", nil},
		{"\ufefftrue", true},
		{"[1, 1.10, 1E5, -0]", []any{json.Number("1"), json.Number("1.10"), json.Number("1E5"), json.Number("-0")}},
		{`{"a": 1, "a": 2}`, map[string]any{"a": json.Number("2")}},
		{`"\ud83d\ude00 \u00E9 \/ \" \\ \b\f\n\r\t"`, "\U0001f600 \u00e9 / \" \\ \b\f\n\r\t"},
		{`"caf` + "\u00e9 \u2028 \x7f" + `"`, "caf\u00e9 \u2028 \x7f"},
		{`"\ud83d"`, "\xed\xa0\xbd"},
		{`"\ud83dx\ud83d\u0041"`, "\xed\xa0\xbdx\xed\xa0\xbdA"},
		{`"\ude00\ud83d\ude00"`, "\xed\xb8\x80\U0001f600"},
		{"-Infinity", math.Inf(-1)},
		{"[Infinity]", []any{math.Inf(1)}},
		{"{}", map[string]any{}},
		{"[[], {}]", []any{[]any{}, map[string]any{}}},
	} {
		got, err := ParseJSON([]byte(test.text))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %#v, %v; want %#v", test.text, got, err, test.want)
		}
	}
	if got, err := ParseJSON([]byte("NaN")); err != nil || !math.IsNaN(got.(float64)) {
		t.Errorf("%v, %v", got, err)
	}
}

// notJSON cannot become JSON by anything that is written behind it; unfinished can.
var (
	notJSON = []string{
		"}", "]", ",", ":", "x", "nulx", "True", "'a'", "// c", "[1,]", "[,", "{,", "{a", `{"a" 1`, `{"a": }`, `{"a": 1,}`, `{1`, `{"a":: 1`, `{"a", 1`,
		"[1 2", "1 2", "01", "-a", "--1", "+1", ".5", "1.e", "1..", "1ee", "1e+-", "1e.", "0x1", "1_000", "nan", "infinity", "-Infx", "\"\n\"", "\"\x00\"", `"\x`,
		`"\u12g`, `"\U`, "\"\xff", "\"\xc3(", "\"\xed\xa0\x80", "\xc3\xa9", "[1}", `{"a": 1]`, "null null", "nulltrue", "{} {}", "[]]", "\"a\"b", "\v1",
		strings.Repeat("[", maxJSONDepth+2),
	}
	unfinished = []string{
		"", " ", "[", "[1", "[1,", "{", `{"`, `{"a`, `{"a"`, `{"a":`, `{"a": 1`, `{"a": 1,`, `"`, `"a`, `"\`, `"\u`, `"\u123`, "\"\xc3", "\"\xf0\x9f", "-", "1.", "1e", "1e+",
		"n", "nul", "Na", "Infinit", "-I", strings.Repeat("[", maxJSONDepth+1),
	}
)

func TestWhatIsNoJSONIsRefusedAsItIsWritten(t *testing.T) {
	for _, text := range notJSON {
		if v, err := ParseJSON([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: %v, %v", text, v, err)
		}
		var check JSONCheck
		if n, err := check.Write([]byte(text)); !errors.Is(err, ErrInvalid) || n >= len(text) {
			t.Errorf("%.40q is let through: %d, %v", text, n, err)
		}
		if _, err := check.Write([]byte(" ")); !errors.Is(err, ErrInvalid) || !errors.Is(check.Close(), ErrInvalid) {
			t.Errorf("%.40q is forgotten", text)
		}
	}
	for _, text := range unfinished {
		if v, err := ParseJSON([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: %v, %v", text, v, err)
		}
		var check JSONCheck
		if _, err := check.Write([]byte(text)); err != nil {
			t.Errorf("%.40q is refused before it can be finished: %v", text, err)
		}
		if err := check.Close(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q is taken for finished: %v", text, err)
		}
	}
	if _, err := ParseJSON(make([]byte, maxJSON+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestAMistakeInJSONIsShownWithItsPlace(t *testing.T) {
	_, err := ParseJSON([]byte("{\n  \"hello\": }\n"))
	if err == nil || !strings.Contains(err.Error(), `'}'`) || !strings.Contains(err.Error(), "line 2 column 12") {
		t.Errorf("%v", err)
	}
}

func TestFormatJSONIsUndoneByParseJSON(t *testing.T) {
	var values func(depth int) *rapid.Generator[any]
	values = func(depth int) *rapid.Generator[any] {
		leaves := []*rapid.Generator[any]{
			rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(),
			rapid.Map(rapid.StringMatching(`-?[1-9][0-9]{0,30}`), func(s string) any { return json.Number(s) }),
		}
		if depth > 0 {
			leaves = append(leaves,
				rapid.SliceOfN(values(depth-1), 0, 4).AsAny(),
				rapid.MapOfN(rapid.String(), values(depth-1), 0, 4).AsAny())
		}
		return rapid.OneOf(leaves...)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := values(3).Draw(t, "value")
		data, err := FormatJSON(want)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(data, func(b byte) bool { return b < ' ' || b > '~' }); i >= 0 {
			t.Fatalf("byte %d of %q: Python 2 cannot watch a file that is not ASCII", i, data)
		}
		got, err := ParseJSON(data)
		if err != nil || !reflect.DeepEqual(got, normal(want)) {
			t.Fatalf("%s: %#v, %v; want %#v", data, got, err, want)
		}
		var std any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&std); err != nil || !reflect.DeepEqual(std, got) {
			t.Fatalf("%s is %#v, %v to encoding/json", data, std, err)
		}
	})
}

// normal makes of v what ParseJSON gives back: nothing is a nil slice or map.
func normal(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = normal(v[i])
		}
		return list
	case map[string]any:
		object := maps.Clone(v)
		for key := range object {
			object[key] = normal(object[key])
		}
		return object
	}
	return v
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range append(append([]string{`{"a": [1, 2.5, null, true], "\u00e9": "\ud83d\ude00"}`, "-Infinity", "1e999", "\ufeff1", `"\ud83d\ud83d\ude00"`}, notJSON...), unfinished...) {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		v, err := ParseJSON(data)
		// The check that goes byte by byte says the same, wherever its input is cut.
		var check JSONCheck
		cut = min(max(cut, 0), len(data))
		_, first := check.Write(data[:cut])
		_, second := check.Write(data[cut:])
		good := first == nil && second == nil && check.Close() == nil
		if good != (err == nil) && !bytes.HasPrefix(data, []byte("\ufeff")) {
			t.Fatalf("%q is JSON: %v in one go, %v in pieces (%v, %v, %v)", data, err == nil, good, first, second, check.Close())
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		once, err := FormatJSON(v)
		if err != nil {
			t.Fatalf("%q cannot be written back: %v", data, err)
		}
		back, err := ParseJSON(once)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", data, once, err)
		}
		if twice, err := FormatJSON(back); err != nil || !bytes.Equal(twice, once) {
			t.Errorf("%q was written as %q and then as %q, %v", data, once, twice, err)
		}
	})
}
