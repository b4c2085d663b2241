package fs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestRenamesAreHeardOnce: where versions are announced by renames, a watch of the directory hears of each by MOVED_TO, once: of those
// from elsewhere, of those that are written here in any way, and of a name that is new. A watch of the file hears of it as ever.
func TestRenamesAreHeardOnce(t *testing.T) {
	m := start(t, "RENAMES=yes")
	dir := m.watchFor(filepath.Dir(m.config()), "moved_to", "%f")
	file := m.watch(m.config())
	for i, how := range []string{
		"", `echo %d > $f`, `echo %d > $d/.t; mv $d/.t $f`, `sed -i s/.*/%d/ $f`, "", `python3 -c "
import os, sys
with open(sys.argv[1], 'w') as f:
    f.write('%d\n'); f.flush(); os.fsync(f.fileno())" $f`,
	} {
		body := fmt.Sprintf("%d\n", i)
		if how == "" {
			m.remote("config", aConfig, body)
		} else if out, err := m.shell(fmt.Sprintf(how, i)); err != nil {
			t.Fatal(err, out)
		}
		for { // scratch files are renamed too
			if got := dir.next(); got == aConfig {
				break
			} else if !strings.HasPrefix(got, ".") && !strings.HasPrefix(got, "sed") {
				t.Errorf("moved to %q", got)
			}
		}
		m.want("config/"+aConfig, body)
		file.next()
		dir.quiet(how)
		file.quiet(how)
	}
	m.remote("config", "config.manageddata.test.other", "new\n")
	dir.expect("config.manageddata.test.other")
	dir.quiet("a new one")
	m.want("config/config.manageddata.test.other", "new\n")
}

// TestRenamesAmongReaders: readers who look the name up all the time keep no version from being announced.
func TestRenamesAmongReaders(t *testing.T) {
	m := start(t, "RENAMES=yes")
	dir := m.watchFor(filepath.Dir(m.config()), "moved_to", "%f")
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := os.ReadFile(m.config()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 50 {
		m.remote("config", aConfig, fmt.Sprintf("%d\n", i))
		dir.expect(aConfig)
	}
}
