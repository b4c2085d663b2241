package fs

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestLostRace(t *testing.T) {
	m := start(t)
	file, err := os.OpenFile(m.config(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("mine!"), 0); err != nil {
		t.Fatal(err)
	}
	m.remote("config", aConfig, "theirs\n")
	if err := file.Close(); err == nil || !strings.Contains(err.Error(), syscall.ESTALE.Error()) {
		t.Errorf("close: %v, want %v", err, syscall.ESTALE)
	}
	m.wantSoon("config/"+aConfig, "theirs\n")
	if reason := m.read(".error/config/" + aConfig); !strings.HasPrefix(reason, "refused: version ") {
		t.Errorf("reason %q", reason)
	}
}

func TestAppendsNeverLoseEachOther(t *testing.T) {
	m := start(t)
	m.order("/hold?name="+aConfig, "30ms")
	for range 5 { // they take turns, and whoever does not get his within publishTimeout is refused: a disk may take a second for each
		out, err := m.shell(`for i in {1..8}; do ( echo $i >> $f ) & done; wait`)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	lines := strings.Fields(m.read("config/" + aConfig))
	if len(lines) != 41 {
		t.Errorf("%d lines of 41: %q", len(lines), lines)
	}
}

// TestReaderKeepsItsVersion: a descriptor is a snapshot, and the writer's half-written bytes are nobody else's.
func TestReaderKeepsItsVersion(t *testing.T) {
	m := start(t)
	old, err := os.Open(m.config())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	writer, err := os.OpenFile(m.config(), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("sec"); err != nil {
		t.Fatal(err)
	}
	m.want("config/"+aConfig, "first\n")
	if _, err := writer.WriteString("ond\n"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	m.want("config/"+aConfig, "second\n")
	buf := make([]byte, 100)
	if n, err := old.ReadAt(buf, 0); string(buf[:n]) != "first\n" {
		t.Errorf("the old descriptor reads %q, %v", buf[:n], err)
	}
	for i := range 20 { // far beyond the history that is kept
		m.remote("config", aConfig, strings.Repeat("x", i+1))
	}
	if n, err := old.ReadAt(buf, 0); string(buf[:n]) != "first\n" {
		t.Errorf("after 20 versions the old descriptor reads %q, %v", buf[:n], err)
	}
}
