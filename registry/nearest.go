package registry

import "strings"

// maxNearest bounds the names that are compared, in bytes.
const maxNearest = 255

// Nearest finds the candidate that somebody who typed name most likely meant, for "did you mean" answers. A candidate that ends
// with all of name at a dot (spam.blacklist for config.manageddata.spam.blacklist) comes first, then the one with the fewest slips
// of the finger: a letter wrong, missing, too many, or swapped with its neighbour; case does not count. ok is false when nothing is
// near: one slip is forgiven, and one more for every eight letters. Of equals the first in the alphabet wins.
func Nearest[S ~string](name string, candidates []S) (nearest S, ok bool) {
	name = strings.ToLower(name)
	if name == "" || len(name) > maxNearest {
		return "", false
	}
	best := 1 + len(name)/8 + 2 // the first score that is too far: a suffix is 0, anything else 1 and its slips
	for _, c := range candidates {
		if len(c) > maxNearest {
			continue
		}
		candidate := strings.ToLower(string(c))
		distance := 0
		if !strings.HasSuffix(candidate, "."+name) {
			distance = 1 + slips(name, candidate, best)
		}
		if distance < best || distance == best && ok && c < nearest {
			nearest, ok, best = c, true, distance
		}
	}
	return nearest, ok
}

// slips is the optimal string alignment distance between a and b, or any number of at least limit if it is not below that.
func slips(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	// Names of one registry begin alike for the most part.
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var rows [3][maxNearest + 1]int
	before, above, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(b)]
}
