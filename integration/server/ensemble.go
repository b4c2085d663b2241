package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Ensemble is several ZooKeeper servers that are one. Each can be stopped and started by itself; without more than half of them none
// answers.
type Ensemble struct {
	Servers []*ZooKeeper
	Addr    string // host:port,host:port,...
}

// StartEnsemble starts so many servers, which end with the test. Each line of config is one of zoo.cfg, see NewZooKeeper.
func StartEnsemble(t testing.TB, servers int, config ...string) *Ensemble {
	t.Helper()
	NeedZooKeeper(t)
	e, err := NewEnsemble(t.TempDir(), servers, config...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Kill)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

// NewEnsemble returns an ensemble that keeps everything below dir, and is not started yet.
func NewEnsemble(dir string, servers int, config ...string) (*Ensemble, error) {
	e := &Ensemble{}
	shared := append([]string{"initLimit=40", "syncLimit=20"}, config...) // in ticks
	var addresses []string
	for id := 1; id <= servers; id++ {
		var ports [2]int // among themselves, and to elect a leader
		for i := range ports {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			ports[i] = port
		}
		shared = append(shared, fmt.Sprintf("server.%d=127.0.0.1:%d:%d", id, ports[0], ports[1]))
		z, err := NewZooKeeper(filepath.Join(dir, fmt.Sprint(id)))
		if err != nil {
			return nil, err
		}
		z.id = id
		e.Servers = append(e.Servers, z)
		addresses = append(addresses, z.Addr)
	}
	for _, z := range e.Servers {
		z.config = shared
	}
	e.Addr = strings.Join(addresses, ",")
	return e, nil
}

// Start starts all, and returns when all answer.
func (e *Ensemble) Start() error {
	errs := make([]error, len(e.Servers))
	var starting sync.WaitGroup
	for i, z := range e.Servers {
		starting.Go(func() { errs[i] = z.Start() })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// Kill ends all as a power failure does.
func (e *Ensemble) Kill() {
	for _, z := range e.Servers {
		z.Kill()
	}
}

// Ephemerals are those of the first server that answers: it need not know yet what another has acknowledged.
func (e *Ensemble) Ephemerals(below string) ([]string, error) {
	var failed error
	for _, z := range e.Servers {
		paths, err := z.Ephemerals(below)
		if err == nil {
			return paths, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// Ephemerals are the nodes that go with the sessions that have made them, below a path.
func (z *ZooKeeper) Ephemerals(below string) ([]string, error) {
	if err := z.answers(); err != nil {
		return nil, err
	}
	said, err := z.Command("dump")
	var paths []string
	for line := range strings.Lines(said) {
		if path := strings.TrimSpace(line); strings.HasPrefix(path, below) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, err
}
