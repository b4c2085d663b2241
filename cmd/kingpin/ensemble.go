package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// ensembleFile in the state directory tells the next server which ensemble was followed, and how far: one that has gone back in
// time, or is another one, must not replace what is here.
const ensembleFile = "ensemble.json"

// followedEnsemble is its content.
type followedEnsemble struct {
	Hosts string `json:"hosts"` // as it was said, for people
	zookeeper.Ensemble
}

// readEnsemble is nil if there is none.
func readEnsemble(state string) (*followedEnsemble, error) {
	path := filepath.Join(state, ensembleFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last := &followedEnsemble{}
	if err := json.Unmarshal(data, last); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return last, nil
}

// seenEnsemble is what the next client is told of the last one. What is on disk may be later than what the file says, which is
// written now and then.
func seenEnsemble(state string, store *disk.Store) (seen zookeeper.Ensemble, err error) {
	last, err := readEnsemble(state)
	if last != nil {
		seen = last.Ensemble
	}
	highest := int64(0)
	for _, kind := range []registry.Kind{registry.Config, registry.Serverset} {
		for _, e := range store.List(kind) {
			highest = max(highest, int64(e.Order))
		}
	}
	switch {
	case seen.Root == "" && seen.Zxid == 0:
		seen.Offset = max(seen.Offset, highest) // what is here is from elsewhere, and older than all that will be heard
	default:
		seen.Zxid = max(seen.Zxid, highest-seen.Offset)
	}
	return seen, err
}

// save replaces the file whole.
func (f followedEnsemble) save(state string) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	path := filepath.Join(state, ensembleFile)
	fresh, err := os.CreateTemp(state, ensembleFile+".*")
	if err != nil {
		return err
	}
	_, err = fresh.Write(append(data, '\n'))
	err = errors.Join(err, fresh.Sync(), fresh.Close())
	if err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}

// ensembleEvery is how often the file is written if all that is new is how far the ensemble was followed. To look takes a walk through
// all that is followed, and so is not for every second.
const ensembleEvery = time.Minute

// keepEnsemble keeps the file up to date until ctx ends.
func (e *engine) keepEnsemble(ctx context.Context, c *zookeeper.Client) {
	var saved zookeeper.Ensemble
	failed := false
	look := func(late bool) {
		now := c.Ensemble()
		if now.Root == "" || now == saved || now.Root == saved.Root && now.Offset == saved.Offset && !late {
			return
		}
		err := followedEnsemble{e.set.fleet.source(), now}.save(e.set.state)
		if err != nil && !failed {
			e.log.Warn("the ensemble is not remembered", "file", ensembleFile, "error", err)
		}
		if failed = err != nil; !failed {
			saved = now
		}
	}
	tick := time.NewTicker(ensembleEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.Judged():
			look(false)
		case <-tick.C:
			look(true)
		case <-ctx.Done():
			look(true)
			return
		}
	}
}
