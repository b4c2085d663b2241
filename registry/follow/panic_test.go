package follow_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// One bad content is published to all machines at once; it must not end the processes that follow it.
func TestAPanicOfParseIsABrokenContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "good")
	var lines logged
	f, err := follow.Open(path, func(data []byte) (string, error) {
		return string(data)[:4], nil
	}, follow.Options{Poll: slow, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	replace(t, path, "bad")
	eventually(t, "it is reported", func() bool { return f.Err() != nil && strings.Contains(f.Err().Error(), "out of range") })
	if !holds(f, "good")() || lines.count("panic_test.go") == 0 {
		t.Error("the last good value has gone, or nobody was told where it was")
	}
	replace(t, path, "better")
	eventually(t, "it is good again", func() bool { return holds(f, "bett")() && f.Err() == nil })
}
