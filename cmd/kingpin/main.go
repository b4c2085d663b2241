// Command kingpin faces the operator: the monitor and every verb that a person or a script types.
//
// One table of commands, in commands.go, is the whole command line as data: dispatch, help, completion and docs/cli.md are
// made from it, so they cannot disagree. One table of failures, in exit.go, turns errors into exit codes, errno into errors
// and both into the control socket's answers.
//
// A verb reads and writes the files of the mount, with the caller's own rights, as any program would. What is not a file
// gesture goes through the control socket (control.go) to the monitor, which alone holds the registry. The monitor itself is
// monitor.go (the keeper's side) and server.go (the side that does the work); its settings are one table in setting.go.
//
// Data goes to stdout, words to stderr; the JSON, the exit codes and the keys of the status files are an interface.
//
// Locks: recorder.mu and engine.mu, each a leaf.
//
// Who wakes up when nothing happens costs every machine of a fleet. So the runtime does not look once a second whether the limits of its
// container have changed.
//
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == oldDownloader {
		args = slices.Concat([]string{oldDownloader}, args)
	}
	os.Exit(run(context.Background(), args, os.Stdin, os.Stdout, os.Stderr))
}
