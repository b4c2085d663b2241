package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build compiles cmd/kingpin into dir and returns the path of the binary; with race it is one that stops at a data race.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "kingpin")
	args := []string{"build", "-o", binary}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if race { // as the tests of the packages are built
		args = append(args, "-race")
		env = append(os.Environ(), "CGO_ENABLED=1") // the detector is C
	} else { // as make does it: make run compiles nothing again
		args = append(args, "-trimpath")
	}
	build := exec.CommandContext(ctx, "go", append(args, "./cmd/kingpin")...)
	build.Dir, build.Env = root, env
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// repositoryRoot is the directory with go.mod, here or above.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod here or above: run this inside the repository")
		}
	}
}
