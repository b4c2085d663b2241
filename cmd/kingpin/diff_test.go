package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestADiffReadsLikeThatOfDiff(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"same\n", "same\n", ""},
		{"", "", ""},
		{`{"hello": "world"}` + "\n", `{"hello": "kingpin"}` + "\n",
			"--- a\n+++ b\n@@ -1 +1 @@\n-{\"hello\": \"world\"}\n+{\"hello\": \"kingpin\"}\n"},
		{"", "one\ntwo\n", "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+one\n+two\n"},
		{"one\n", "", "--- a\n+++ b\n@@ -1 +0,0 @@\n-one\n"},
		{"no newline", "no newline\n", "--- a\n+++ b\n@@ -1 +1 @@\n-no newline\n\\ No newline at end of file\n+no newline\n"},
		{"a\x00", "b", "binary: a has 2 bytes, b has 1\n"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\n2\n3\n4\nX\n6\n7\n8\n9\n10\n11\nY\n",
			"--- a\n+++ b\n@@ -2,11 +2,11 @@\n 2\n 3\n 4\n-5\n+X\n 6\n 7\n 8\n 9\n 10\n 11\n-12\n+Y\n"},
	} {
		if got := unified("a", "b", []byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("%q against %q:\n%s\nwant:\n%s", c.a, c.b, got, c.want)
		}
	}
}

// TestADiffCanBeApplied: patch, given the old text and the difference, makes the new one.
func TestADiffCanBeApplied(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Log("no patch on this machine: applied by hand only")
	}
	line := rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "\n", "- d\n", "+ e\n"})
	rapid.Check(t, func(t *rapid.T) {
		a := strings.Join(rapid.SliceOfN(line, 0, 30).Draw(t, "a"), "")
		b := strings.Join(rapid.SliceOfN(line, 0, 30).Draw(t, "b"), "")
		var before, after strings.Builder
		for _, c := range compare(splitLines(a), splitLines(b)) {
			if c.sign != '+' {
				before.WriteString(c.line)
			}
			if c.sign != '-' {
				after.WriteString(c.line)
			}
		}
		if before.String() != a || after.String() != b {
			t.Fatalf("%q to %q became %q to %q", a, b, before.String(), after.String())
		}
	})
	dir := t.TempDir()
	a, b := "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "0\n1\n2\n3\n4\n5\n6\n7\n9\n"
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte(a), 0o644); err != nil {
		t.Fatal(err)
	}
	patch := exec.Command("patch", "-s", file)
	patch.Stdin = strings.NewReader(unified("file", "file", []byte(a), []byte(b)))
	if out, err := patch.CombinedOutput(); err != nil {
		if _, missing := err.(*exec.Error); missing {
			return
		}
		t.Fatalf("patch: %v\n%s", err, out)
	}
	if got, _ := os.ReadFile(file); string(got) != b {
		t.Errorf("patch made %q of it, want %q", got, b)
	}
}

func TestADiffOfHugeFilesEndsSoon(t *testing.T) {
	a, b := strings.Repeat("old\n", 100_000), strings.Repeat("new\n", 100_000)
	if got := unified("a", "b", []byte(a), []byte(b)); strings.Count(got, "\n-") != 100_000 {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
}
