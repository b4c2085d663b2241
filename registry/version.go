package registry

import (
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Version is the token that names one published body: decimal seconds, ten digits, a dot and nine decimals when it is ours, up
// to two decimals when Python wrote it. Readers treat it as opaque; the zero Version means created, never written.
type Version string

// maxVersionLength bounds what is accepted as a token; ours have 20 bytes.
const maxVersionLength = 64

// ParseVersion checks a token that somebody else wrote: digits, letters, dots, - and _, not starting with - or a dot. It becomes
// a part of a key and a word on old machines' command lines, so nothing else is let through.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return "", nil
	}
	if len(s) > maxVersionLength || s[0] == '-' || s[0] == '.' || strings.Contains(s, "..") {
		return "", fmt.Errorf("version token %.80q: %w", s, ErrInvalid)
	}
	for _, c := range []byte(s) {
		if !isWordByte(c) && c != '.' {
			return "", fmt.Errorf("version token %.80q: %w", s, ErrInvalid)
		}
	}
	return Version(s), nil
}

// NextVersion is the token for a body published at now over current: the clock, or one nanosecond past current if the clock
// has not passed it. Tokens are compared as decimals, so 1795296152.5 is later than 1795296152.25. A current token that is no
// decimal counts as the beginning of time.
func NextVersion(now time.Time, current Version) Version {
	next := now.UnixNano()
	if last, ok := current.nanoseconds(); ok && last >= next {
		next = last + 1
	}
	return Version(fmt.Sprintf("%010d.%09d", next/1e9, next%1e9))
}

// Time is the moment that a decimal token stands for; ok is false for any other token.
func (v Version) Time() (t time.Time, ok bool) {
	ns, ok := v.nanoseconds()
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(0, ns), true
}

// Compare orders tokens by the moments they stand for; those that stand for none come first.
func (v Version) Compare(w Version) int {
	at, _ := v.Time()
	bt, _ := w.Time()
	if c := at.Compare(bt); c != 0 {
		return c
	}
	return strings.Compare(string(v), string(w))
}

// nanoseconds since 1970, rounded up to the next whole one.
func (v Version) nanoseconds() (int64, bool) {
	if v == "" || strings.Trim(string(v), "0123456789.") != "" {
		return 0, false
	}
	seconds, ok := new(big.Rat).SetString(string(v))
	if !ok {
		return 0, false
	}
	ns := seconds.Mul(seconds, big.NewRat(1e9, 1))
	whole, rest := new(big.Int).QuoRem(ns.Num(), ns.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	// Beyond the year 2200 it is no clock that anybody set: starting from there would leave no room to count on.
	if !whole.IsInt64() || whole.Int64() > 7258118400_000000000 {
		return 0, false
	}
	return whole.Int64(), true
}
