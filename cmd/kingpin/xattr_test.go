package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAnAttributeThatGrowsWhileItIsRead: as the version of a config does with its first publication.
func TestAnAttributeThatGrowsWhileItIsRead(t *testing.T) {
	values := []string{"", "1795360952.478429570", "1795360952.478429570"}
	got, err := readXattr(func(into []byte) (int, error) {
		value := values[0]
		if len(values) > 1 {
			values = values[1:]
		}
		switch {
		case len(into) == 0:
			return len(value), nil
		case len(into) < len(value):
			return -1, unix.ERANGE
		}
		return copy(into, value), nil
	})
	if want := "1795360952.478429570"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
