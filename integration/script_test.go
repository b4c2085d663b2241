package integration

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script/*.txtar. Beside what testscript knows, a script may say
//
//	monitor [FLAG...]	start a monitor on $WORK/m, with its state in $WORK/s; kingpin finds it by itself
//	stop			end it by SIGTERM; nothing may be left
func TestScripts(t *testing.T) {
	needMount(t)
	kingpin := kingpinBinary(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         directory(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(kingpin)+":"+e.Getenv("PATH"))
			e.Setenv("M", filepath.Join(e.WorkDir, "m"))
			e.Setenv("S", filepath.Join(e.WorkDir, "s"))
			e.Setenv("KINGPIN_MOUNT", e.Getenv("M"))
			e.Setenv("KINGPIN_STATE", e.Getenv("S"))
			e.Setenv("LC_ALL", "C")
			e.Values[monitorKey{}] = &running{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"monitor": func(ts *testscript.TestScript, neg bool, flags []string) {
				r := ts.Value(monitorKey{}).(*running)
				if neg || r.Monitor != nil {
					ts.Fatalf("usage: monitor [FLAG...], once, or again after stop")
				}
				ts.Check(os.MkdirAll(ts.Getenv("M"), 0o755))
				o := Options{Binary: kingpin, Mount: ts.Getenv("M"), State: ts.Getenv("S"), Flags: flags}
				o.Plain = slices.Contains(flags, "--no-mount")
				m, err := Start(t.Context(), o)
				ts.Check(err)
				r.Monitor = m
				ts.Defer(func() {
					if err := m.Stop(); err != nil {
						t.Errorf("%s: %v", ts.Name(), err)
					}
				})
			},
			"stop": func(ts *testscript.TestScript, neg bool, args []string) {
				r := ts.Value(monitorKey{}).(*running)
				if neg || r.Monitor == nil || len(args) > 0 {
					ts.Fatalf("usage: stop, after monitor")
				}
				ts.Check(r.Stop())
				r.Monitor = nil
			},
		},
	})
}

type monitorKey struct{}

// running is the monitor of a script, if it has started one.
type running struct{ *Monitor }
