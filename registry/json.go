package registry

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of what is read and written, as Python's own recursion limit does.
const maxJSONDepth = 1000

// Object is a JSON object whose keys keep their order. A map has its keys sorted instead.
type Object []Field

// Field is one key of an Object.
type Field struct {
	Key   string
	Value any
}

// FormatJSON writes v in the bytes of Python 2's simplejson.dumps(v, sort_keys=True). Old writers compare what is stored with
// those bytes and refuse to go on if they differ, so whatever an old writer may change next has to be written like this.
//
// It takes what ParseJSON returns, Object, and Go's own types: a nil slice is [], a nil map {}, integer and boolean keys are
// sorted as the strings they become. A json.Number is written as Python would after reading it: 1e2 as 100.0, -0 as 0. A type
// with a MarshalJSON or MarshalText, and any struct, is taken in the form encoding/json gives it, keys sorted.
func FormatJSON(v any) ([]byte, error) {
	return appendJSON(nil, v, 0)
}

func appendJSON(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d: %w", maxJSONDepth, ErrInvalid)
	}
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return appendJSONString(b, v)
	case json.Number:
		return appendJSONNumber(b, string(v))
	case map[string]any: // the common case of the general one below
		return appendJSONObject(b, sortedObject(maps.All(v)), depth)
	case Object:
		return appendJSONObject(b, v, depth)
	}
	return appendJSONValue(b, reflect.ValueOf(v), depth)
}

// appendJSONValue writes the types that a switch cannot list.
func appendJSONValue(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if isMarshaler(v.Type()) || v.Kind() == reflect.Struct || v.Type() == reflect.TypeFor[[]byte]() {
		return appendMarshaled(b, v.Interface(), depth)
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.Float64:
		return appendJSONFloat(b, v.Float()), nil
	case reflect.Float32:
		// 0.1, not the 0.10000000149011612 that it is as a float64.
		f, err := strconv.ParseFloat(strconv.FormatFloat(v.Float(), 'g', -1, 32), 64)
		return appendJSONFloat(b, f), err
	case reflect.String:
		return appendJSONString(b, v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return appendJSON(b, v.Elem().Interface(), depth+1)
	case reflect.Slice, reflect.Array:
		return appendJSONArray(b, v, depth)
	case reflect.Map:
		fields := make(map[string]any, v.Len())
		for entry := v.MapRange(); entry.Next(); {
			key, err := jsonKey(entry.Key())
			if err != nil {
				return nil, err
			}
			fields[key] = entry.Value().Interface()
		}
		return appendJSONObject(b, sortedObject(maps.All(fields)), depth)
	}
	return nil, fmt.Errorf("JSON of %s: %w", v.Type(), ErrInvalid)
}

func isMarshaler(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// appendMarshaled takes the way through encoding/json, whose tags and methods a struct is written for.
func appendMarshaled(b []byte, v any, depth int) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("JSON of %T (%v): %w", v, err, ErrInvalid)
	}
	plain, err := ParseJSON(data)
	if err != nil {
		return nil, err
	}
	return appendJSON(b, plain, depth+1)
}

func appendJSONArray(b []byte, v reflect.Value, depth int) ([]byte, error) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ", "...)
		}
		var err error
		if b, err = appendJSON(b, v.Index(i).Interface(), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendJSONObject(b []byte, o Object, depth int) ([]byte, error) {
	b = append(b, '{')
	for i, field := range o {
		if i > 0 {
			b = append(b, ", "...)
		}
		var err error
		if b, err = appendJSONString(b, field.Key); err != nil {
			return nil, err
		}
		b = append(b, ": "...)
		if b, err = appendJSON(b, field.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// sortedObject sorts by code point, which is the order of UTF-8's bytes.
func sortedObject(fields func(func(string, any) bool)) Object {
	var o Object
	for key, value := range fields {
		o = append(o, Field{key, value})
	}
	slices.SortFunc(o, func(a, b Field) int { return strings.Compare(a.Key, b.Key) })
	return o
}

// jsonKey is the string that Python makes of a key.
func jsonKey(v reflect.Value) (string, error) {
	if v.Kind() == reflect.String {
		return v.String(), nil
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return string(text), err
	}
	switch v.Kind() {
	case reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		key, err := appendJSONValue(nil, v, 0)
		return string(key), err
	}
	return "", fmt.Errorf("JSON key of %s: %w", v.Type(), ErrInvalid)
}

// appendJSONNumber writes the number as Python does after reading it: an integer of any size as it is, all else by its float's
// repr, infinite if it overflows.
func appendJSONNumber(b []byte, s string) ([]byte, error) {
	if length, ok := jsonNumberLength(s); !ok || length != len(s) {
		return nil, fmt.Errorf("JSON number %.40q: %w", s, ErrInvalid)
	}
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64) // the only error left is overflow, which is infinite in Python too
		return appendJSONFloat(b, f), nil
	}
	if s == "-0" {
		s = "0"
	}
	return append(b, s...), nil
}

// appendJSONFloat is Python's repr: the shortest digits that read back as f, with an exponent below 1e-4 and from 1e16, and always
// recognisable as a float.
func appendJSONFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if !slices.Contains(b[start:], '.') {
		b = append(b, ".0"...)
	}
	return b
}

// appendJSONString writes s in ASCII: the short escapes, \u00e9 in lower case, two of them for what lies beyond the basic plane.
// Slashes, <, > and & stay as they are, DEL does not. What is not UTF-8 is refused, but for the surrogates that ParseJSON keeps.
func appendJSONString(b []byte, s string) ([]byte, error) {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			if r, size = decodeSurrogate(s[i:]); size == 0 {
				return nil, fmt.Errorf("JSON string %.40q is not UTF-8: %w", s, ErrInvalid)
			}
		}
		i += size
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r < ' ' && shortEscapes[r] != 0:
			b = append(b, '\\', shortEscapes[r])
		case r < 0x10000:
			b = appendUnicodeEscape(b, r)
		default:
			b = appendUnicodeEscape(b, 0xd800+(r-0x10000)>>10)
			b = appendUnicodeEscape(b, 0xdc00+(r-0x10000)&0x3ff)
		}
	}
	return append(b, '"'), nil
}

var shortEscapes = [' ']byte{'\n': 'n', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f'}

func appendUnicodeEscape(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// decodeSurrogate reads one half of a surrogate pair, which Python strings may hold alone, in the three bytes that UTF-8 would
// give it if it allowed it. size is 0 if s does not start with one.
func decodeSurrogate(s string) (r rune, size int) {
	if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 || s[1] > 0xbf || s[2] < 0x80 || s[2] > 0xbf {
		return 0, 0
	}
	return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), 3
}
