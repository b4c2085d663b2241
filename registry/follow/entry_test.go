package follow

import (
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWhatIsStillBeingWrittenIsNotBelieved: two looks may come close together, at the same part of a file that somebody writes slowly.
func TestWhatIsStillBeingWrittenIsNotBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	start := time.Now()
	var taken string
	e := &entry{
		name: "f", log: slog.New(slog.DiscardHandler), report: func(error) {},
		take: func(c content) error { taken = string(c.data); return nil },
	}
	// at some time the file is looked at, whose last part was written at another
	look := func(at, written time.Duration, data string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, start.Add(written), start.Add(written)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		now := start.Add(at)
		e.looked(&content{data: []byte(data), sum: sha256.Sum256([]byte(data)), info: info, at: now}, nil, now, false)
	}
	look(0, 0, "a")
	look(settle/2, settle/2, "ab")
	look(settle+1, settle, "abc")
	look(settle+2, settle, "abc")
	look(2*settle-1, settle, "abc")
	if taken != "" {
		t.Errorf("%q was believed while it was being written", taken)
	}
	look(2*settle+1, settle, "abc")
	if taken != "abc" {
		t.Errorf("%q was believed when it had been left alone", taken)
	}
}
