package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// server is a monitor at work: the store, the engine behind it, and what is said about them.
type server struct {
	set       monitorSettings
	store     *disk.Store
	log       *slog.Logger
	host      string
	started   time.Time
	mount     *keeper.Attachment // nil without a mount
	engine    *engine
	metrics   *metrics
	admin     *face // nil in a process of one verb, as the next
	public    *face // for other machines
	publishes recorder
	seeding   atomic.Bool // the demo config is not there yet
	direct    bool        // it answers one verb of its own process, and follows nothing
}

// openServer opens the state directory. Nothing else is needed to serve reads.
func openServer(set monitorSettings, log *slog.Logger) (*server, error) {
	if err := checkOwner(set); err != nil {
		return nil, err
	}
	store, err := disk.Open(set.state, disk.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	s := &server{set: set, store: store, log: log, started: time.Now()}
	s.host, _ = os.Hostname() // an author without a host is better than no service
	s.seeding.Store(set.demo)
	s.metrics = newMetrics(s)
	s.engine = &engine{
		set: set, store: store, log: log, opened: s.opened, since: s.started, observeS3: s.metrics.observeS3,
		registrar: newRegistrar(set, mirror.RegistrarOptions{Logger: log}),
	}
	s.admin = &face{flag: "admin", address: set.admin, handler: s.adminRoutes(), group: set.group, log: log}
	s.public = &face{flag: "metrics", address: set.metrics, handler: s.metricsRoutes(), group: set.group, log: log}
	return s, nil
}

// run serves what serve serves until that ends, with the engine and the control socket behind it. They end after it, so that
// publishes can finish. Nothing that goes wrong with them ends it.
func (s *server) run(ctx context.Context, serve func(context.Context) error) error {
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	control, stopControl := context.WithCancel(behind)
	defer stopControl()
	var engine, socket sync.WaitGroup
	var failed error
	engine.Go(func() { failed = s.engine.run(behind) })
	socket.Go(func() { s.keepControl(control) })
	for _, f := range []*face{s.admin, s.public} {
		if f.wanted() {
			listener, err := f.prepare()
			socket.Go(func() { f.keep(control, listener, err) })
		}
	}
	err := serve(ctx)
	stopControl()
	socket.Wait()
	stop()
	engine.Wait()
	return errors.Join(err, failed)
}

// close lets go of the state directory, which the next server may be waiting for, and then of the registry.
func (s *server) close() error { return errors.Join(s.store.Close(), s.engine.leave()) }

// runServer is the server process that a keeper starts.
func runServer(ctx context.Context, inv *invocation) error {
	set, err := inv.serverSettings()
	if err != nil {
		return err
	}
	log := newLogger(inv.stderr, set.logLevel, set.logFormat)
	ours := os.Getenv("GOGC") == ""
	if ours {
		debug.SetGCPercent(gcPercent)
	}
	mount, err := keeper.Attach()
	if err != nil {
		return err
	}
	if err := fs.Negotiate(mount, fs.Options{ReadOnly: set.readOnly}); err != nil {
		return inv.fatal(errors.Join(err, mount.Refuse(err)))
	}
	if err := mount.Prepared(); err != nil {
		return err
	}
	s, err := openServer(set, log)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK) && mount.Incarnation > 1:
		return err // the server before is not quite gone: the keeper tries again
	case err != nil:
		return inv.fatal(err)
	}
	s.mount = mount
	if ours {
		paceGarbage(s.engine.starting)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(linger, cancel) })()
	go func() {
		select {
		case <-mount.Done(): // nobody is left to unmount or replace us
			cancel()
		case <-serving.Done():
		}
	}()
	go func() {
		select {
		case <-mount.Quiesce():
			s.engine.bequeath()
		case <-serving.Done():
		}
	}()
	err = s.run(serving, func(ctx context.Context) error {
		return fs.New(s.store, s.mountOptions()).Serve(ctx, mount)
	})
	err = errors.Join(err, s.close())
	if errors.Is(err, fs.ErrNegotiation) {
		return inv.fatal(err)
	}
	return err
}

// linger is how long a server that was told to stop goes on serving: until its keeper has unmounted, and for those that still have
// the mount open, a moment more.
const linger = time.Second

// fatal ends a server in a way that tells the keeper not to start another: it would end in the same way.
func (inv *invocation) fatal(err error) error {
	inv.report(err)
	return exitStatus(keeper.StatusFatal)
}

func (s *server) mountOptions() fs.Options {
	o := fs.Options{
		Writable:      s.engine.writableSoon,
		Reach:         s.engine.reach,
		Quota:         s.engine.quota,
		Check:         s.engine.check,
		Status:        s.topics(),
		PublishGroup:  max(s.set.group, 0),
		ReadOnly:      s.set.readOnly,
		CreateByWrite: s.set.createByWrite,
		MaxBody:       s.set.maxBody,
		Renames:       s.set.renames,
		Host:          s.host,
		Logger:        s.log,
		Observe:       s.metrics.observeFUSE,
		Announced:     s.metrics.announced,
	}
	s.showHistory(&o)
	o.Members = s.members
	if s.set.readOnly {
		return o
	}
	o.Publish = func(ctx context.Context, p fs.Publication) (disk.Entry, error) {
		return s.publish(ctx, mirror.Publication(p))
	}
	o.Register = s.register
	o.Edit = func(ctx context.Context, e fs.Edit) error {
		m, err := s.engine.soon()
		if err != nil {
			return err
		}
		switch e.Kind {
		case fs.Unsubscribe:
			return m.Unsubscribe(ctx, e.Dependency, e.Edge)
		case fs.MakeDependency:
			return m.MakeDependency(ctx, e.Dependency)
		case fs.DeleteDependency:
			return m.DeleteDependency(ctx, e.Dependency)
		}
		return m.Subscribe(ctx, e.Dependency, e.Edge)
	}
	o.Await = func(ctx context.Context, e fs.Edit) {
		if m, err := s.engine.get(); err == nil {
			m.AwaitMembers(ctx, e.Dependency, e.Edge)
		}
	}
	return o
}

// publish is the one way to a new version, from the mount and from the socket.
func (s *server) publish(ctx context.Context, p mirror.Publication) (entry disk.Entry, err error) {
	started := time.Now()
	defer func() { s.publishes.add(p, entry, err, started) }()
	m, err := s.engine.soon()
	if err != nil {
		return disk.Entry{}, err
	}
	if err := s.checkJSON(ctx, p); err != nil {
		return disk.Entry{}, err
	}
	return m.Publish(ctx, p)
}

// try is publish up to where something would change.
func (s *server) try(ctx context.Context, p mirror.Publication) error {
	m, err := s.engine.get()
	if err != nil {
		return err
	}
	if err := s.checkJSON(ctx, p); err != nil {
		return err
	}
	return m.Try(ctx, p)
}

// checkJSON refuses to replace JSON by what is none.
func (s *server) checkJSON(ctx context.Context, p mirror.Publication) error {
	if p.Force || p.Decider != "" || len(p.Body) == 0 || !registry.HoldsJSON(s.before(ctx, p.Name)) {
		return nil
	}
	var check registry.JSONCheck
	_, err := check.Write(p.Body)
	if err == nil {
		err = check.Close()
	}
	if err != nil {
		return fmt.Errorf("%s holds JSON: %w", p.Name, err)
	}
	return nil
}

// before is the body that a publication would replace: of this machine, or of the registry if this machine does not follow the name.
// What cannot be read cannot be compared.
func (s *server) before(ctx context.Context, name registry.Name) []byte {
	if here, ok := s.store.Current(fileOf(name)); ok {
		body, _ := s.readBody(here.Stamp)
		return body
	}
	now, _ := s.current(ctx, name)
	return now.body.Data
}

// readBody of a version that is on disk.
func (s *server) readBody(stamp disk.Stamp) ([]byte, error) {
	f, err := s.store.OpenBody(stamp)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// serveFiles is a monitor without a mount: the plain tree is what there is to serve, and nobody holds an old version open in a way
// that we would have to respect.
func (s *server) serveFiles(ctx context.Context) error {
	for range s.store.Changes(ctx) {
		for _, e := range s.store.Unannounced() {
			s.store.Announced(e.Stamp)
			s.metrics.announced(e)
		}
		for _, r := range s.store.Removed() {
			s.store.Announced(r.Stamp)
		}
		for _, e := range s.store.Expired() {
			if err := s.store.Drop(e.Stamp); err != nil {
				s.log.Warn("old version stays on disk", "name", e.File.String(), "version", e.Version, "error", err)
			}
		}
	}
	<-ctx.Done()
	return nil
}

// opened is called once the registry is open and followed.
func (s *server) opened(ctx context.Context, m *mirror.Mirror) {
	if s.set.demo {
		if err := s.seedDemo(ctx, m, s.set.dependencies[0]); err != nil {
			s.log.Warn("no demo config", "error", err)
		}
		s.seeding.Store(false)
	}
	if s.set.hints != nil && (s.mount == nil || s.mount.Incarnation == 1) {
		s.hint(ctx)
	}
}

// What --demo puts into a new registry: a config and a decider.
const (
	demoName    registry.Name = "config.manageddata.demo.greeting"
	demoBody                  = `{"hello": "world"}` + "\n"
	demoDecider               = "new_ranker"
	demoPercent               = 10
)

// seedDemo gives a registry that has no names something to play with.
func (s *server) seedDemo(ctx context.Context, m *mirror.Mirror, dep registry.Dependency) error {
	names, err := m.Names(ctx)
	if err != nil || len(names) > 0 {
		return err
	}
	if err := m.CreateDependency(ctx, dep); err != nil && !errors.Is(err, registry.ErrExist) {
		return err
	}
	author := "root@" + s.host
	if err := m.Create(ctx, demoName, []registry.Dependency{dep}, nil, author); err != nil {
		return err
	}
	if _, err = s.publish(ctx, mirror.Publication{Name: demoName, Body: []byte(demoBody), Author: author, Message: "demo"}); err != nil {
		return err
	}
	_, err = s.publish(ctx, mirror.Publication{
		Name: registry.DeciderName, Decider: demoDecider, Percent: demoPercent, Create: true, Author: author, Message: "demo",
	})
	return err
}
