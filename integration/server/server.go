package server

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// missing skips a test that needs what this machine does not have, or fails it where everything has to run.
func missing(t testing.TB, reason error) {
	t.Helper()
	if os.Getenv("KINGPIN_REQUIRE") == "all" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// repository is the directory of go.mod, in or above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository")
		}
	}
}
