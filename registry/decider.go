package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	maxDeciders   = 16 << 20 // bytes of the body of DeciderName
	maxDeciderRaw = 64       // bytes written to the file of one decider
)

// FormatDeciders is the body of DeciderName: one JSON object of name to percent, sorted by name, in Python's bytes. A name that is
// not UTF-8 has no such bytes and is left out.
func FormatDeciders(percents map[string]int) []byte {
	entries := make(map[string]any, len(percents))
	for name, percent := range percents {
		if utf8.ValidString(name) {
			entries[name] = percent
		}
	}
	body, err := FormatJSON(entries)
	if err != nil {
		panic(err) // strings that are UTF-8 and ints are always JSON
	}
	return body
}

// ParseDeciders reads the body of DeciderName. It is as patient as Python, because a gate must open and close whatever its
// neighbours look like: a fraction counts as the next whole number and a number outside 0..100 as the nearest bound, which is how
// Python's comparison with a bucket from 0 to 99 takes them; true and false are 1 and 0, as in Python. Entries of any other kind,
// and names that ParseDeciderName refuses, are left out; UnreadableDeciders and CheckDeciders name them. Only a body that is no JSON object is an error; an
// empty one is an empty map.
func ParseDeciders(data []byte) (map[string]int, error) {
	entries, err := parseDeciderEntries(data)
	if err != nil {
		return nil, err
	}
	percents := make(map[string]int, len(entries))
	for name, value := range entries {
		if _, err := ParseDeciderName(name); err != nil {
			continue
		}
		if percent, ok := deciderPercent(value); ok {
			percents[name] = percent
		}
	}
	return percents, nil
}

// UnreadableDeciders are the well-formed names in the body of DeciderName whose values ParseDeciders leaves out, sorted. Each is there
// and broken, so whoever keeps the last good value of every decider keeps it for these.
func UnreadableDeciders(data []byte) []string {
	entries, err := parseDeciderEntries(data)
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if _, ok := deciderPercent(entries[name]); ok {
			continue
		}
		if _, err := ParseDeciderName(name); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// CheckDeciders says what is wrong with a body that is about to be published as DeciderName: each entry that is not a well-formed
// name with a whole number from 0 to 100.
func CheckDeciders(data []byte) error {
	entries, err := parseDeciderEntries(data)
	if err != nil {
		return err
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if _, err := ParseDeciderName(name); err != nil {
			wrong = append(wrong, err)
			continue
		}
		number, ok := entries[name].(json.Number)
		if !ok {
			wrong = append(wrong, fmt.Errorf("decider %s is not a number: %w", name, ErrInvalid))
			continue
		}
		if _, err := ParseDecider([]byte(number)); err != nil {
			wrong = append(wrong, fmt.Errorf("decider %s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

// SetDecider is the body of DeciderName with one entry changed or added. Every other entry keeps its value to the last digit; the
// same percent again gives the same body, byte for byte.
func SetDecider(body []byte, name string, percent int) ([]byte, error) {
	if _, err := ParseDeciderName(name); err != nil {
		return nil, err
	}
	if percent < 0 || percent > 100 {
		return nil, fmt.Errorf("decider %s: %d is not a whole number from 0 to 100: %w", name, percent, ErrInvalid)
	}
	entries, err := parseDeciderEntries(body)
	if err != nil {
		return nil, err
	}
	number := json.Number(strconv.Itoa(percent))
	if entries[name] == number {
		return body, nil
	}
	entries[name] = number
	return FormatJSON(entries)
}

// RemoveDecider is the body of DeciderName without one entry.
func RemoveDecider(body []byte, name string) ([]byte, error) {
	entries, err := parseDeciderEntries(body)
	if err != nil {
		return nil, err
	}
	if _, ok := entries[name]; !ok {
		return nil, fmt.Errorf("decider %q: %w", name, ErrNotExist)
	}
	delete(entries, name)
	return FormatJSON(entries)
}

func parseDeciderEntries(data []byte) (map[string]any, error) {
	if len(data) > maxDeciders {
		return nil, fmt.Errorf("deciders of %d bytes, at most %d: %w", len(data), maxDeciders, ErrTooLarge)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return map[string]any{}, nil
	}
	value, err := ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("deciders: %w", err)
	}
	entries, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("deciders are not a JSON object: %w", ErrInvalid)
	}
	return entries, nil
}

// deciderPercent is how Python decides with value: its bucket, a whole number from 0 to 99, is below value or not.
func deciderPercent(value any) (percent int, ok bool) {
	var f float64
	switch value := value.(type) {
	case bool:
		if value {
			f = 1
		}
	case json.Number:
		f, _ = strconv.ParseFloat(string(value), 64) // the only error is overflow, which is infinite and so all or nothing
	case float64:
		f = value // NaN, which is above nothing, and the infinities
	default:
		return 0, false
	}
	if math.IsNaN(f) {
		return 0, true
	}
	return int(math.Ceil(min(max(f, 0), 100))), true
}

// FormatDecider is the file of one decider: the percent and a newline.
func FormatDecider(percent int) []byte {
	return append(strconv.AppendInt(nil, int64(percent), 10), '\n')
}

// ParseDecider reads what was written to the file of one decider: a whole number from 0 to 100, with or without blanks and a newline
// around it.
func ParseDecider(data []byte) (int, error) {
	if len(data) > maxDeciderRaw {
		return 0, fmt.Errorf("%d bytes are not a whole number from 0 to 100: %w", len(data), ErrInvalid)
	}
	word := string(bytes.TrimSpace(data))
	percent, err := strconv.ParseUint(word, 10, 7)
	if err != nil || percent > 100 || len(word) > 1 && word[0] == '0' {
		if word == "" || !isWord(word) {
			word = strconv.QuoteToASCII(word)
		}
		return 0, fmt.Errorf("%s is not a whole number from 0 to 100: %w", word, ErrInvalid)
	}
	return int(percent), nil
}

// ContinueDecider judges what was written so far to the file of one decider. A line that is complete must be what ParseDecider reads;
// what comes before its newline must be the start of such a line.
func ContinueDecider(data []byte) (complete bool, err error) {
	complete = len(data) > 0 && data[len(data)-1] == '\n'
	if !complete && len(data) <= maxDeciderRaw && len(bytes.TrimSpace(data)) == 0 {
		return false, nil
	}
	_, err = ParseDecider(data) // every start of a percent is one itself
	return complete && err == nil, err
}
