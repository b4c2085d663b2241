package manageddata

import "reflect"

// copied is a value that has nothing in common with v that could be changed. What an application sets is handed on to the functions of changes
// that come at the same time, and maybe more than once: they may change what they are given, but not what it was made from.
func copied[T any](v T) T {
	if !refers(reflect.TypeFor[T]()) {
		return v
	}
	var fresh T
	deepen(reflect.ValueOf(&fresh).Elem(), reflect.ValueOf(&v).Elem(), 0)
	return fresh
}

// deepest bounds the copying of what refers to itself, which JSON has no bytes for.
const deepest = 1000

// refers says whether values of the type may share something.
func refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
		return true
	case reflect.Array:
		return refers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if refers(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// deepen makes dst, which is settable, a copy of src.
func deepen(dst, src reflect.Value, depth int) {
	dst.Set(src)
	if depth > deepest || !refers(src.Type()) {
		return
	}
	switch src.Kind() {
	case reflect.Slice:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		fallthrough
	case reflect.Array:
		for i := range src.Len() {
			deepen(dst.Index(i), src.Index(i), depth+1)
		}
	case reflect.Map:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeMapWithSize(src.Type(), src.Len()))
		for entry := src.MapRange(); entry.Next(); {
			value := reflect.New(src.Type().Elem()).Elem()
			deepen(value, entry.Value(), depth+1)
			dst.SetMapIndex(entry.Key(), value)
		}
	case reflect.Pointer, reflect.Interface:
		if src.IsNil() {
			return
		}
		value := reflect.New(src.Elem().Type()).Elem()
		deepen(value, src.Elem(), depth+1)
		if src.Kind() == reflect.Pointer {
			value = value.Addr()
		}
		dst.Set(value)
	case reflect.Struct:
		for i := range src.NumField() {
			if src.Type().Field(i).IsExported() { // what is not is nobody's to change
				deepen(dst.Field(i), src.Field(i), depth+1)
			}
		}
	}
}
