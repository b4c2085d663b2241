package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// A server that was killed leaves its session behind, and with that its places in the queues of publishers: nobody in the fleet could
// publish those names before the session runs out. So each session is written to the state directory before it is used, for root
// alone, and the next server ends it, once it has taken over what is registered, but not later than buryLatest.
const (
	sessionFile = "session.json"
	buryLook    = 50 * time.Millisecond
	buryLatest  = 3 * time.Second
)

// formerSession is that of the last server of this machine, zero if there is none to end.
func formerSession(state string) (s zookeeper.Session) {
	data, err := os.ReadFile(filepath.Join(state, sessionFile))
	if err == nil {
		_ = json.Unmarshal(data, &s) // what cannot be understood ends by itself
	}
	return s
}

// rememberSession is told of each session before it is used. What a crash of the machine does to the file does not matter: nobody is
// faster back than the session runs out.
func rememberSession(state string, log *slog.Logger) func(zookeeper.Session) {
	return func(s zookeeper.Session) {
		data, err := json.Marshal(s)
		path := filepath.Join(state, sessionFile)
		if err == nil {
			err = errors.Join(os.WriteFile(path+".new", append(data, '\n'), 0o600), os.Rename(path+".new", path))
		}
		if err != nil {
			log.Warn("the session is not remembered: should this server be killed, it ends by itself", "file", path, "error", err)
		}
	}
}

// bury ends the session of the server before this one.
func (e *engine) bury(ctx context.Context, b backend) {
	latest := time.After(buryLatest)
	for pending := true; pending; {
		select {
		case <-time.After(buryLook):
			pending = !b.ensemble.Connected() || e.registering()
		case <-latest:
			pending = false
		case <-ctx.Done():
			return
		}
	}
	if err := b.ensemble.Bury(ctx, b.former); err != nil && ctx.Err() == nil {
		e.log.Info("the session of the last server ends by itself", "error", err)
	}
}
