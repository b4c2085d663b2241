package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kingpin": main, oldDownloader: main})
}

// TestScripts types commands. Beside what testscript knows, a script may say
//
//	exits N COMMAND...	run it; it must end with exit code N
//	eventually COMMAND...	run it until it succeeds, for a minute
//
// Each has a state directory and a configuration file of its own, and no mount: those stories are told in integration.
func TestScripts(t *testing.T) {
	testscript.Run(t, scripts("testdata/script"))
}

// scripts are those of a directory, and what they find when they start.
func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("KINGPIN_STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("KINGPIN_CONFIG", filepath.Join(e.WorkDir, "kingpin.conf"))
			e.Setenv("S", filepath.Join(e.WorkDir, "state"))
			e.Setenv("KINGPIN_ADMIN", "off") // the address is one for the whole machine
			e.Setenv("LC_ALL", "C")
			e.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")) // else each command takes a second under -race
			file, err := os.OpenFile(e.Getenv("KINGPIN_CONFIG"), os.O_CREATE, 0o644)
			if err != nil {
				return err
			}
			return file.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exitsCommand, "eventually": eventuallyCommand},
	}
}

func eventuallyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND [ARG...]")
	}
	deadline := time.After(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("after a minute still: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// golden compares with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	compareFile(t, filepath.Join("testdata", name), got)
}

func compareFile(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := unified(path, "now", want, got); diff != "" {
		t.Errorf("%s is not what it should be; go test ./cmd/kingpin -update writes it:\n%s", path, diff)
	}
}
