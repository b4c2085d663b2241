package manageddata

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// TestWhatPythonWroteIsReadAndWrittenBack: recorded bodies of the old classes, byte for byte.
func TestWhatPythonWroteIsReadAndWrittenBack(t *testing.T) {
	const dir = "../testdata/json"
	bodies, err := filepath.Glob(dir + "/*.json")
	if err != nil || len(bodies) == 0 {
		t.Fatalf("no recorded bodies: %v", err)
	}
	for _, path := range bodies {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := rewritten(body)
		if err != nil || !bytes.Equal(again, body) && len(again) > 0 {
			t.Errorf("%s was read as %q: %v", path, again, err)
		}
	}
}

// rewritten reads a body as the kind of data that it is, and writes it.
func rewritten(body []byte) ([]byte, error) {
	if list, err := parseList[any](body); err == nil {
		return formatList(list, nil)
	}
	if m, err := parseMap[string, any](body); err == nil {
		return formatMap(m, nil)
	}
	value, err := parseJSON[any](body)
	if err != nil {
		return nil, err
	}
	return formatJSON(value, nil)
}

func TestDecode(t *testing.T) {
	type inner struct {
		N int `json:"n"`
	}
	seven := 7
	for _, test := range []struct {
		body string
		want any
	}{
		{`7`, 7}, {`7`, uint8(7)}, {`-7`, int64(-7)}, {`7`, 7.0}, {`1e400`, math.Inf(1)}, {`Infinity`, math.Inf(1)}, {`7`, &seven},
		{`true`, true}, {`"s"`, "s"}, {`null`, (*int)(nil)}, {`null`, []int(nil)}, {`7`, json.Number("7")},
		{`[1, 2]`, []int{1, 2}}, {`[1, 2]`, [2]int{1, 2}}, {`{"1": true}`, map[int]bool{1: true}}, {`{"true": "x"}`, map[bool]string{true: "x"}},
		{`{"n": 1, "m": 2}`, inner{1}}, {`{"a": {"n": 1}}`, map[string]inner{"a": {1}}}, {`"1h"`, "1h"},
		{`"2026-11-21T22:14:06Z"`, time.Date(2026, 11, 21, 22, 14, 6, 0, time.UTC)},
		{`{"2026-11-21T22:14:06Z": 1}`, map[time.Time]int{time.Date(2026, 11, 21, 22, 14, 6, 0, time.UTC): 1}},
		{`"AQI="`, []byte{1, 2}}, {`123456789012345678901234567890`, json.Number("123456789012345678901234567890")},
		{"\"\\ud83d\"", "\xed\xa0\xbd"},
	} {
		got, err := decodeAs(test.body, reflect.TypeOf(test.want))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s as %T is %v: %v", test.body, test.want, got, err)
		}
	}
	for _, test := range []struct {
		body string
		to   any
	}{
		{`1.0`, 0}, {`300`, uint8(0)}, {`-1`, uint(0)}, {`"7"`, 0}, {`7`, ""}, {`null`, 0}, {`null`, inner{}}, {`true`, 0}, {`{}`, []int{}},
		{`[]`, map[string]int{}}, {`[1]`, [2]int{}}, {`{"01": 1}`, map[int]int{}}, {`{"x": 1}`, map[bool]int{}}, {`{"n": "x"}`, inner{}},
		{`NaN`, 0}, {`1`, false}, {`"x"`, json.Number("")}, {`1`, time.Time{}},
	} {
		if got, err := decodeAs(test.body, reflect.TypeOf(test.to)); err == nil {
			t.Errorf("%s as %T is %v", test.body, test.to, got)
		}
	}
}

func decodeAs(body string, t reflect.Type) (any, error) {
	value, err := registry.ParseJSON([]byte(body))
	if err != nil {
		return nil, err
	}
	dst := reflect.New(t).Elem()
	err = assign(dst, value)
	return dst.Interface(), err
}

// FuzzReading: any bytes are read or refused, and what was read is written so that it is read as the same.
func FuzzReading(f *testing.F) {
	for _, seed := range []string{``, `[]`, `{}`, `["a", 1, null]`, `{"a": 1, "b": 2.5}`, `{"a": ["x", "x"]}`, `{"1": true}`, `[{"k": [1]}]`,
		"[\"caf\xc3\xa9\"]", `["\ud83d\ude00", "\ud83d"]`, `{"a": NaN}`, `[1e400]`, `"raw`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		again(t, body, parseList[string], formatList[string])
		again(t, body, parseList[any], formatList[any])
		again(t, body, parseList[float64], formatList[float64])
		again(t, body, parseMap[string, any], formatMap[string, any])
		again(t, body, parseMap[int, int8], formatMap[int, int8])
		again(t, body, parseMap[string, []string], formatMap[string, []string])
		again(t, body, parseMap[string, struct{ A, B any }], formatMap[string, struct{ A, B any }])
		again(t, body, parseJSON[any], formatJSON[any])
		again(t, body, parseJSON[struct{ A []string }], formatJSON[struct{ A []string }])
	})
}

func again[T any](t *testing.T, body []byte, parse func([]byte) (T, error), format func(T, []byte) ([]byte, error)) {
	value, err := parse(body)
	if err != nil {
		return
	}
	for _, old := range [][]byte{nil, body} {
		written, err := format(value, old)
		if err != nil {
			continue // encoding/json has no NaN for the field of a struct
		}
		value2, err := parse(written)
		if err != nil {
			t.Fatalf("%q is written as %q, which is not read: %v", body, written, err)
		}
		written2, err := format(value2, nil)
		if first, _ := format(value, nil); err != nil || !bytes.Equal(written2, first) {
			t.Fatalf("%q is written as %q and then as %q: %v", body, first, written2, err)
		}
	}
}
