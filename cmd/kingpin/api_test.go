package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKeysOfTheJSON: what was printed once is printed for ever. A line that goes away from the golden file, or changes, breaks
// somebody's script; one that is added does not.
func TestKeysOfTheJSON(t *testing.T) {
	var keys []string
	for _, v := range []any{
		monitorStatus{}, machineStatus{}, s3Status{}, nameStatus{}, listedName{}, knownName{}, dependencyStatus{}, publishRecord{},
		createRequest{}, created{}, published{}, tried{}, memberRequest{}, apiError{}, waited{}, member{}, treeNode{}, dependencyPath{},
		setValue{}, build{}, accepted{}, acceptRequest{}, acceptance{}, serversetStatus{}, holdStatus{}, acceptedStatus{}, serversetMember{}, removed{}, reported{},
	} {
		keys = append(keys, keysOf(reflect.TypeOf(v), reflect.TypeOf(v).Name())...)
	}
	slices.Sort(keys)
	golden(t, "keys.golden", []byte(strings.Join(keys, "\n")+"\n"))
}

func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		if f.Anonymous {
			keys = append(keys, keysOf(f.Type, prefix)...)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key != strings.ToLower(key) || key == "" {
			key += " IS NO KEY"
		}
		kind := fmt.Sprint(f.Type)
		if f.Type == reflect.TypeFor[time.Time]() {
			kind = "RFC 3339"
		}
		keys = append(keys, prefix+"."+key+" "+strings.TrimPrefix(kind, "main."))
	}
	return keys
}
