package registry

import (
	"fmt"
	"slices"
	"strings"
)

// maxServerset bounds a serverset file in bytes: far more endpoints than one service has.
const maxServerset = 8 << 20

// FormatServerset is the serverset file of the members: one endpoint a line, sorted bytewise, each once, however often it has
// registered. No members make an empty file.
func FormatServerset(members []Member) []byte {
	endpoints := make([]Endpoint, len(members))
	for i, m := range members {
		endpoints[i] = m.Endpoint
	}
	slices.Sort(endpoints)
	return FormatEndpoints(slices.Compact(endpoints))
}

// FormatEndpoints is the serverset file of endpoints that are sorted already, each once.
func FormatEndpoints(endpoints []Endpoint) []byte {
	var file []byte
	for _, e := range endpoints {
		file = append(file, e...)
		file = append(file, '\n')
	}
	return file
}

// ParseServerset reads a serverset file, ours or an old one: endpoints in any order, blank lines without meaning, the last newline
// there or not. It returns them sorted, each once. One bad line spoils the file, as half a list of hosts is worse than the last
// good one.
func ParseServerset(data []byte) ([]Endpoint, error) {
	if len(data) > maxServerset {
		return nil, fmt.Errorf("serverset of %d bytes, at most %d: %w", len(data), maxServerset, ErrTooLarge)
	}
	var endpoints []Endpoint
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		e, err := storedEndpoint(line)
		if err != nil {
			return nil, fmt.Errorf("serverset line %d: %w", number, err)
		}
		endpoints = append(endpoints, e)
	}
	slices.Sort(endpoints)
	return slices.Compact(endpoints), nil
}
