package integration

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/server"
)

// TestReadmeFleet: `make fleet`, and then the fleet's tour of the README typed line by line, prints what the README shows; after
// Ctrl-C nothing is left of it.
func TestReadmeFleet(t *testing.T) {
	needMount(t)
	needProgram(t, "make", "inotifywait")
	server.NeedZooKeeper(t)
	server.NeedS3(t)
	tours := transcripts(section(read(t, filepath.Join(repository(t), "README.md")), "A fleet"))
	if len(tours) != 1 || len(tours[0]) < 3 {
		t.Fatalf("the fleet's tour has %d transcripts", len(tours))
	}
	where := filepath.Join(directory(t), "fleet")
	out, stop := makeFleet(t, where)
	s := newSession(t, repository(t), os.Environ())
	for _, step := range tours[0] {
		s.follow(t, step, strings.NewReplacer("/tmp/kingpin", where).Replace)
	}
	stop()
	if _, err := os.Stat(where); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Ctrl-C there is still %s: %v", where, err)
	}
	if said := out.String(); !strings.Contains(said, "a: ") || strings.Contains(said, "level=ERROR") {
		t.Errorf("make fleet printed\n%s", said)
	}
}

// makeFleet starts make fleet, and returns when it invites to look around. stop is Ctrl-C.
func makeFleet(t *testing.T, where string) (out *transcript, stop func()) {
	t.Helper()
	out = &transcript{}
	cmd := exec.Command("make", "--no-print-directory", "fleet", "FLEET="+where)
	cmd.Dir, cmd.Stdout, cmd.Stderr = repository(t), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // Ctrl-C is no success for make
	}()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // as the terminal does: to make and to the fleet
		select {
		case <-ended:
		case <-time.After(2 * stopLimit):
			t.Errorf("make fleet goes on after Ctrl-C:\n%s", out)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(t.Context(), watchdog) // it builds
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(out.String(), "Ctrl-C ends all of it") {
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("make fleet ended:\n%s", out)
		case <-ctx.Done():
			t.Fatalf("make fleet is not ready:\n%s", out)
		}
	}
	return out, stop
}
