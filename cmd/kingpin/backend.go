package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// backend is what a mirror mirrors: one file of this machine, or the ensemble and the bucket of a fleet.
type backend struct {
	registry mirror.Registry
	bodies   mirror.Bodies
	ensemble *zookeeper.Client // nil: embedded
	former   zookeeper.Session // of the last server of this machine
	close    func() error
}

// openEmbedded opens the registry of one machine.
func openEmbedded(path string, log *slog.Logger) (backend, error) {
	r, err := embedded.Open(path, embedded.Options{Logger: log})
	if err != nil {
		return backend{}, err
	}
	return backend{registry: r, bodies: r, close: r.Close}, nil
}

// openFleet opens the registry of a fleet. Neither ensemble nor bucket need be there.
func openFleet(ctx context.Context, set monitorSettings, store *disk.Store, observe func(string, int, time.Duration), log *slog.Logger) (backend, error) {
	bodies, err := set.fleet.bodies(ctx, set.maxBody, observe, log)
	if err != nil {
		return backend{}, err
	}
	seen, err := seenEnsemble(set.state, store)
	if err != nil {
		// The file is only there to recognise the ensemble. Without it any will do, as on the first start.
		log.Error("the ensemble of last time is not known any more; any will do", "error", err)
	}
	former := formerSession(set.state)
	ensemble, err := set.fleet.ensemble(zookeeper.Options{Logger: log, Seen: seen, Begun: rememberSession(set.state, log)})
	if err != nil {
		bodies.Close()
		return backend{}, err
	}
	return backend{registry: ensemble, bodies: bodies, ensemble: ensemble, former: former, close: func() error {
		err := ensemble.Close()
		bodies.Close()
		return err
	}}, nil
}

// checkOwner refuses a state directory that holds what another registry said: the orders of the two cannot be compared, so what
// one says would be taken for old news of the other.
func checkOwner(set monitorSettings) error {
	if set.fleet != nil {
		return nil // whatever the embedded registry said counts as older than all that a fleet says
	}
	last, err := readEnsemble(set.state)
	if err != nil || last == nil {
		return nil
	}
	return hint(errors.New("state directory "+set.state+" is that of a machine in the fleet of "+last.Hosts),
		fmt.Sprintf("to be in it again: --zookeeper %s", last.Hosts), "for a registry of its own, say another --state PATH")
}
