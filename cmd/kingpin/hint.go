package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// hint tells a person at the terminal that the monitor is ready, and what to try. Who tries it hears of no event that is older.
func (s *server) hint(ctx context.Context) {
	for s.ready() != nil || len(s.store.Unannounced()) > 0 {
		select {
		case <-time.After(waitFirst):
		case <-ctx.Done():
			return
		}
	}
	where, verb, ending, since := s.set.state+"/files", "serving", "stops", s.started
	if s.mount != nil {
		where, verb, ending, since = s.mount.Mount, "mounted", "unmounts", s.mount.Started
	}
	fmt.Fprintf(s.set.hints, "%s %s, %s, ready in %d ms. Ctrl-C %s. In another shell, try:\n    %s\n",
		verb, where, s.holdings(), time.Since(since).Milliseconds(), ending, strings.Join(s.tries(where), " ; "))
}

// holdings are how many files of each kind there are. The config that holds the deciders is not counted beside them.
func (s *server) holdings() string {
	counts := map[registry.Kind]int{registry.Decider: len(s.store.List(registry.Decider))}
	for name := range s.followed() {
		if name != registry.DeciderName {
			counts[name.Kind()]++
		}
	}
	all := []string{count(counts[registry.Config], registry.Config.String())}
	for _, kind := range []registry.Kind{registry.Serverset, registry.Decider} {
		if n := counts[kind]; n > 0 {
			all = append(all, count(n, kind.String()))
		}
	}
	return strings.Join(all, ", ")
}

// tries are lines that work here.
func (s *server) tries(where string) []string {
	all := []string{"ls " + where}
	for _, e := range s.store.List(registry.Config) {
		if e.Name != string(registry.DeciderName) {
			all = append(all, "cat "+filepath.Join(where, e.File.String()))
			break
		}
	}
	if deciders := s.store.List(registry.Decider); len(deciders) > 0 && s.mount != nil && !s.set.readOnly {
		all = append(all, "echo 42 > "+filepath.Join(where, deciders[0].File.String()))
	}
	status := called() + " status"
	for _, o := range globals {
		if o.name == "mount" && s.mount != nil && where != o.value {
			status += " --mount " + where
		}
		if o.name == "state" && s.mount == nil && s.set.state != o.value {
			status += " --state " + s.set.state
		}
	}
	return append(all, status)
}

// called is what one types from here to run this program: its name if the shell finds it, else where it is.
func called() string {
	self, err := os.Executable()
	if err != nil {
		return "kingpin"
	}
	name := filepath.Base(self)
	if found, err := exec.LookPath(name); err == nil && found == self {
		return name
	}
	if here, err := os.Getwd(); err == nil {
		if near, ok := strings.CutPrefix(self, here+"/"); ok {
			return near
		}
	}
	return self
}
