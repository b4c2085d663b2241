package manageddata

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/kingpinfs/kingpin/registry"
)

// decode reads a body as a T, with Python's reading of JSON: NaN, halves of surrogate pairs, numbers of any size.
func decode[T any](value any) (T, error) {
	var t T
	err := assign(reflect.ValueOf(&t).Elem(), value)
	return t, err
}

func mismatch(value any, to reflect.Type) error {
	text, err := registry.FormatJSON(value)
	if err != nil {
		text = []byte("a value")
	}
	return fmt.Errorf("%.40s is no %s: %w", text, to, registry.ErrInvalid)
}

// assign gives dst what registry.ParseJSON found. Into an any it goes as it is, numbers as json.Number.
func assign(dst reflect.Value, value any) error {
	t := dst.Type()
	if t == reflect.TypeFor[json.Number]() {
		number, ok := value.(json.Number)
		if !ok {
			return mismatch(value, t)
		}
		dst.SetString(string(number))
		return nil
	}
	if marshals(t) {
		return assignMarshaled(dst, value)
	}
	if value == nil {
		return assignNull(dst)
	}
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() == 0 {
			dst.Set(reflect.ValueOf(value))
			return nil
		}
	case reflect.Pointer:
		dst.Set(reflect.New(t.Elem()))
		return assign(dst.Elem(), value)
	case reflect.Bool:
		if b, ok := value.(bool); ok {
			dst.SetBool(b)
			return nil
		}
	case reflect.String:
		if s, ok := value.(string); ok {
			dst.SetString(s)
			return nil
		}
	case reflect.Slice, reflect.Array:
		return assignList(dst, value)
	case reflect.Map:
		return assignMap(dst, value)
	default:
		if assignNumber(dst, value) {
			return nil
		}
	}
	return mismatch(value, t)
}

// marshals says whether encoding/json knows the type better: structs with their tags, types with methods of their own, bytes.
func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Kind() == reflect.Struct || t == reflect.TypeFor[[]byte]() ||
		p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func assignMarshaled(dst reflect.Value, value any) error {
	if value == nil && dst.Kind() == reflect.Struct {
		return mismatch(value, dst.Type())
	}
	text, err := registry.FormatJSON(value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, dst.Addr().Interface()); err != nil {
		return fmt.Errorf("%.40s as %s: %w: %w", text, dst.Type(), err, registry.ErrInvalid)
	}
	return nil
}

func assignNull(dst reflect.Value) error {
	switch dst.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		dst.SetZero()
		return nil
	}
	return mismatch(nil, dst.Type())
}

func assignList(dst reflect.Value, value any) error {
	list, ok := value.([]any)
	if !ok || dst.Kind() == reflect.Array && dst.Len() != len(list) {
		return mismatch(value, dst.Type())
	}
	if dst.Kind() == reflect.Slice {
		dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
	}
	for i, item := range list {
		if err := assign(dst.Index(i), item); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

func assignMap(dst reflect.Value, value any) error {
	object, ok := value.(map[string]any)
	if !ok {
		return mismatch(value, dst.Type())
	}
	t := dst.Type()
	dst.Set(reflect.MakeMapWithSize(t, len(object)))
	for text, item := range object {
		key, entry := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		if err := assignKey(key, text); err != nil {
			return err
		}
		if err := assign(entry, item); err != nil {
			return fmt.Errorf("key %q: %w", text, err)
		}
		dst.SetMapIndex(key, entry)
	}
	return nil
}

// assignKey undoes what JSON did to a key that was no string. A text that would not be written for any key, such as 01, is refused.
func assignKey(dst reflect.Value, text string) error {
	wrong := fmt.Errorf("key %q is no %s: %w", text, dst.Type(), registry.ErrInvalid)
	if u, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("%w: %w", wrong, err)
		}
		return nil
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
		return nil
	case reflect.Interface:
		if dst.NumMethod() == 0 {
			dst.Set(reflect.ValueOf(text))
			return nil
		}
	case reflect.Bool:
		if text == "true" || text == "false" {
			dst.SetBool(text == "true")
			return nil
		}
	default:
		if !assignNumber(dst, json.Number(text)) {
			return wrong
		}
		if again, err := registry.FormatJSON(dst.Interface()); err == nil && string(again) == text {
			return nil
		}
	}
	return wrong
}

// assignNumber reads a number of Python's: a whole one into ints that can hold it, any into floats.
func assignNumber(dst reflect.Value, value any) bool {
	number, ok := value.(json.Number)
	if f, special := value.(float64); special { // NaN and the infinities
		if dst.CanFloat() {
			dst.SetFloat(f)
		}
		return dst.CanFloat()
	}
	if !ok {
		return false
	}
	switch {
	case dst.CanInt():
		i, err := strconv.ParseInt(string(number), 10, dst.Type().Bits())
		dst.SetInt(i)
		return err == nil
	case dst.CanUint():
		u, err := strconv.ParseUint(string(number), 10, dst.Type().Bits())
		dst.SetUint(u)
		return err == nil
	case dst.CanFloat():
		f, err := strconv.ParseFloat(string(number), dst.Type().Bits())
		dst.SetFloat(f)
		return err == nil || math.IsInf(f, 0)
	}
	return false
}

// forgetful says whether a value that was read as a t may lack something of what was there: fields that a struct does not have, the
// digits of a float.
func forgetful(t reflect.Type) bool {
	if marshals(t) {
		return true
	}
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return true
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return forgetful(t.Elem())
	case reflect.Map:
		return forgetful(t.Key()) || forgetful(t.Elem())
	}
	return false
}

// original finds what was there for a value that has not changed since.
type original map[string]any

func (o original) add(typed, raw any) {
	if text, err := registry.FormatJSON(typed); err == nil {
		o[string(text)] = raw
	}
}

func (o original) of(typed any) any {
	if len(o) == 0 {
		return typed
	}
	if text, err := registry.FormatJSON(typed); err == nil {
		if raw, ok := o[string(text)]; ok {
			return raw
		}
	}
	return typed
}

func empty(body []byte) bool { return len(bytes.TrimSpace(body)) == 0 }
