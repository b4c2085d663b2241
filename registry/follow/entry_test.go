package follow

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAProcessThatStoodStillDoesNotBelieveAPart: a file that is always in motion is believed in the end, but not because nobody looked at
// it for so long.
func TestAProcessThatStoodStillDoesNotBelieveAPart(t *testing.T) {
	start := time.Now()
	e := &entry{
		name: "f", log: slog.New(slog.DiscardHandler), report: func(error) {}, take: func(content) error { return nil },
	}
	path := filepath.Join(t.TempDir(), "f")
	look := func(at time.Duration) {
		t.Helper()
		data := []byte(at.String())
		if err := errors.Join(os.WriteFile(path, data, 0o644), os.Chtimes(path, start.Add(at), start.Add(at))); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		e.looked(&content{data: data, sum: sha256.Sum256(data), info: info, at: start.Add(at)}, nil, start.Add(at), false)
	}
	const stall = 10 * restless
	for at := time.Duration(0); e.good == nil; at += settle / 2 {
		if at == settle {
			at += stall
		}
		if look(at); e.good != nil && at < stall+restless-2*settle {
			t.Errorf("believed after %v, of which nobody looked at it for %v", at, stall)
		}
		if at > stall+2*restless {
			t.Fatal("never believed")
		}
	}
}

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
