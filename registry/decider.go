package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// maxDeciders bounds the body of DeciderName in bytes.
const maxDeciders = 16 << 20

// FormatDeciders is the body of DeciderName: one JSON object of name to percent, sorted by name, in Python's bytes.
func FormatDeciders(percents map[string]int) []byte {
	body := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(percents)) {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = appendJSONString(body, name)
		body = append(body, ": "...)
		body = strconv.AppendInt(body, int64(percents[name]), 10)
	}
	return append(body, '}')
}

// ParseDeciders reads the body of DeciderName. It is as patient as Python, because a gate must open and close whatever its
// neighbours look like: a fraction counts as the next whole number and a number outside 0..100 as the nearest bound, which is how
// Python's comparison with a bucket from 0 to 99 takes them; true and false are 1 and 0, as in Python. Entries of any other kind
// and names that ParseDeciderName refuses are left out; CheckDeciders names them. Only a body that is no JSON object is an error; an
// empty one is an empty map.
func ParseDeciders(data []byte) (map[string]int, error) {
	percents := map[string]int{}
	if len(data) > maxDeciders {
		return nil, fmt.Errorf("deciders of %d bytes, at most %d: %w", len(data), maxDeciders, ErrTooLarge)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return percents, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var entries map[string]any
	if err := d.Decode(&entries); err != nil || entries == nil {
		return nil, fmt.Errorf("deciders are not a JSON object (%v): %w", err, ErrInvalid)
	}
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

// deciderPercent is how Python decides with value: its bucket, a whole number from 0 to 99, is below value or not.
func deciderPercent(value any) (percent int, ok bool) {
	switch value := value.(type) {
	case bool:
		if value {
			return 1, true
		}
		return 0, true
	case json.Number:
		f, err := value.Float64()
		if err != nil && !math.IsInf(f, 0) {
			return 0, false
		}
		return int(math.Ceil(min(max(f, 0), 100))), true
	}
	return 0, false
}

// FormatDecider is the file of one decider: the percent and a newline.
func FormatDecider(percent int) []byte {
	return append(strconv.AppendInt(nil, int64(percent), 10), '\n')
}

// ParseDecider reads what was written to the file of one decider: a whole number from 0 to 100, with or without blanks and a newline
// around it.
func ParseDecider(data []byte) (int, error) {
	word := string(bytes.TrimSpace(data[:min(len(data), 64)]))
	percent, err := strconv.ParseUint(word, 10, 7)
	if len(data) > 64 || err != nil || percent > 100 || len(word) > 1 && word[0] == '0' {
		return 0, fmt.Errorf("%.40q is not a whole number from 0 to 100: %w", word, ErrInvalid)
	}
	return int(percent), nil
}
