package registry_test

import (
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

func TestHoldsJSON(t *testing.T) {
	for body, want := range map[string]bool{
		`{"a": 1}` + "\n": true, "[]": true, "  [1, 2]": true,
		"": false, "42": false, "true": false, "[section]\nkey = value\n": false, `{"a": `: false, "plain": false,
	} {
		if got := registry.HoldsJSON([]byte(body)); got != want {
			t.Errorf("HoldsJSON(%q) = %v", body, got)
		}
	}
}
