package registry

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAVersionSaysWhenItWasPublished(t *testing.T) {
	for _, test := range []struct {
		token string
		want  time.Time
	}{
		{"1795296152.52", time.Unix(1795296152, 520000000)},
		{"1795297810.0", time.Unix(1795297810, 0)},
		{"1795297810.3", time.Unix(1795297810, 300000000)},
		{"1795299243.512000001", time.Unix(1795299243, 512000001)},
		{"1795299243", time.Unix(1795299243, 0)},
	} {
		v, err := ParseVersion(test.token)
		got, ok := v.Time()
		if err != nil || !ok || !got.Equal(test.want) {
			t.Errorf("%s: %v, %v, %v", test.token, got, ok, err)
		}
	}
	for _, opaque := range []Version{"", "abc", "1.2.3", "1e9", "99999999999999999999.5"} {
		if got, ok := opaque.Time(); ok {
			t.Errorf("%q stands for %v", opaque, got)
		}
	}
}

func TestTokensThatAShellOrAKeyWouldMisread(t *testing.T) {
	for _, bad := range []string{"x'; touch /tmp/x; #", "-v", ".5", "1..2", "a/b", "a b", "1\n", "caf\u00e9", strings.Repeat("1", 65)} {
		if v, err := ParseVersion(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, v, err)
		}
	}
	if v, err := ParseVersion(""); v != "" || err != nil {
		t.Errorf("a node never written: %q, %v", v, err)
	}
}

func TestTheNextVersionIsLaterAlthoughTheClockWentBack(t *testing.T) {
	now := time.Unix(1795299243, 512000000)
	for _, test := range []struct{ current, want Version }{
		{"", "1795299243.512000000"},
		{"1795299243.5", "1795299243.512000000"},
		{"1795299243.52", "1795299243.520000001"},            // Python's, 8 ms ahead of us
		{"1795299244.0", "1795299244.000000001"},             // a clock set back
		{"1795299243.512000000", "1795299243.512000001"},     // twice in one tick
		{"1795299243.5120000000001", "1795299243.512000002"}, // finer than ours
		{"1795299243.999999999", "1795299244.000000000"},     // carries over
		{"not-a-number", "1795299243.512000000"},             // opaque
		{"9999999999999999999999.5", "1795299243.512000000"}, // no clock
	} {
		if got := NextVersion(now, test.current); got != test.want {
			t.Errorf("after %q: %s, want %s", test.current, got, test.want)
		}
	}
}

func TestVersionsOnlyGoUp(t *testing.T) {
	decimal := func(v Version) *big.Rat {
		r, ok := new(big.Rat).SetString(string(v))
		if !ok {
			t.Fatalf("version %q is no decimal", v)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		current := Version(rapid.StringMatching(`([0-9]{1,9}|[1-6][0-9]{9})\.[0-9]{1,12}`).Draw(t, "current"))
		if ns, ok := current.nanoseconds(); !ok {
			t.Fatalf("%s is no time: %d", current, ns)
		}
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			now := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "now"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
			next := NextVersion(now, current)
			if decimal(next).Cmp(decimal(current)) <= 0 {
				t.Fatalf("%s after %s", next, current)
			}
			if _, err := ParseVersion(string(next)); err != nil || len(next) != 20 {
				t.Fatalf("%q: %v", next, err)
			}
			current = next
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"", "1795296152.52", "1..2", "'; rm", "1.5e3", "0x1p4", "1/2"} {
		f.Add(s)
	}
	now := time.Unix(1795299243, 512000000)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(s, "'\"\\$`;&|<>/ \n") || strings.HasPrefix(s, "-") {
			t.Errorf("token %q", s)
		}
		next := NextVersion(now, v)
		if _, err := ParseVersion(string(next)); err != nil {
			t.Errorf("after %q: %v", s, err)
		}
		before, ok := v.Time()
		after, fine := next.Time()
		if !fine || ok && after.Before(before) {
			t.Errorf("after %q: %q", s, next)
		}
	})
}
