package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// directOptions are the flags of a verb that can do without a monitor. All but the first are those of the monitor, from the same
// files and environment.
func directOptions() []option {
	options := []option{{name: "direct", value: false, usage: "without a monitor: ask ZooKeeper and S3, by the flags and files of kingpin monitor"}}
	return append(options, whereOptions()...)
}

// whereOptions say where ZooKeeper and S3 are.
func whereOptions() []option {
	options := append(fleetOptions(), confOption())
	for i := range options {
		options[i].hidden = true
	}
	return options
}

// openDirect is a tree of nothing but the registry: the control socket's answers, given by this process itself.
func (inv *invocation) openDirect(ctx context.Context) (*tree, error) {
	s, err := inv.directServer(ctx)
	if err != nil {
		return nil, err
	}
	return inv.directTree(s), nil
}

// directServer ends with the verb.
func (inv *invocation) directServer(ctx context.Context) (*server, error) {
	effective, err := inv.resolveFor()
	if err != nil {
		return nil, usageError{err}
	}
	set, err := effective.directSettings()
	if err != nil {
		return nil, usageError{err}
	}
	s, err := openDirectServer(ctx, set)
	if err != nil {
		return nil, err
	}
	inv.ending = s.leave
	return s, nil
}

func (inv *invocation) directTree(s *server) *tree {
	c := &client{socket: "direct", http: &http.Client{Transport: inProcess{s.routes(), peer{uid: uint32(os.Getuid()), pid: int32(os.Getpid())}}}}
	t := &tree{root: absolute(inv.string("mount")), direct: true, control: c}
	t.cwd, _ = os.Getwd()
	t.roots = []string{t.root}
	t.monitor = &monitorStatus{MaxBody: s.set.maxBody}
	if len(s.set.dependencies) > 0 {
		t.monitor.Dependencies = texts(s.set.roots())
	}
	return t
}

// directSettings checks what is needed to reach a fleet. The dependencies of this machine are only a default for create.
func (r resolved) directSettings() (set monitorSettings, err error) {
	set.group = -1
	if set.fleet, err = r.fleet(); err != nil {
		return set, err
	}
	if set.fleet == nil {
		return set, errors.New("--direct: neither a flag nor a file says where ZooKeeper is: --zookeeper HOSTS --s3-bucket BUCKET")
	}
	if set.dependencies, err = r.dependencies(); err != nil {
		return set, err
	}
	set.maxBody, err = r.maxBody()
	return set, err
}

// openDirectServer is a server that follows nothing and serves nobody: its mirror does not run, and its store stays empty.
func openDirectServer(ctx context.Context, set monitorSettings) (*server, error) {
	log := slog.New(slog.DiscardHandler) // what goes wrong is the answer
	state, err := os.MkdirTemp("", "kingpin")
	if err != nil {
		return nil, err
	}
	set.state = state
	s := &server{set: set, log: log, started: time.Now(), direct: true}
	if s.store, err = disk.Open(state, disk.Options{Logger: log}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(state))
	}
	s.host, _ = os.Hostname()
	s.engine = &engine{set: set, store: s.store, log: log, registrar: mirror.NewRegistrar(mirror.RegistrarOptions{})}
	b, err := s.engine.tryOpen(ctx)
	if err != nil {
		return nil, errors.Join(usageError{err}, s.close(), os.RemoveAll(state))
	}
	s.engine.backend = b
	s.engine.mirror = mirror.New(b.registry, b.bodies, s.store, mirror.Options{
		Dependencies: slices.Clone(set.dependencies), MaxBody: set.maxBody, MaxVersions: -1, Host: s.host, Logger: log,
	})
	return s, nil
}

// leave ends a direct server.
func (s *server) leave() error { return errors.Join(s.close(), os.RemoveAll(s.set.state)) }

// inProcess answers requests in this process, as the control socket would.
type inProcess struct {
	handler http.Handler
	who     peer
}

// RoundTrip implements http.RoundTripper. The request ends with its context because those who answer do.
func (w inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.WithContext(context.WithValue(r.Context(), peerKey{}, w.who))
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &recorded{header: http.Header{}, status: http.StatusOK}
	w.handler.ServeHTTP(out, in)
	return &http.Response{StatusCode: out.status, Header: out.header, Body: io.NopCloser(&out.body), Request: r}, nil
}

// recorded is an answer on its way.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header                  { return r.header }
func (r *recorded) WriteHeader(status int)               { r.status = status }
func (r *recorded) Write(data []byte) (n int, err error) { return r.body.Write(data) }

// inRegistry checks that the registry has what a target names.
func (t *tree) inRegistry(ctx context.Context, inv *invocation, g target) error {
	if g.dir == registry.Decider.String() {
		return wrongUsage("%s: deciders are files of a mount, and here is none", g)
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	var known knownName
	if err := t.control.call(ctx, "GET", "/v1/registry/names/"+g.name, nil, &known); err != nil {
		return err
	}
	if known.Exists {
		return nil
	}
	var hints []string
	if known.Nearest != "" {
		hints = append(hints, "nearest: "+known.Nearest)
	}
	return hint(fmt.Errorf("%w: %s", registry.ErrNotExist, g), append(hints, "to make it: kingpin create "+g.name)...)
}

// published are the bytes of a target in the registry.
func (t *tree) published(ctx context.Context, inv *invocation, g target) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	return t.control.send(ctx, "GET", "/v1/registry/names/"+g.name+"/body", nil)
}

// publishedStatus is what the registry knows of a target.
func (t *tree) publishedStatus(ctx context.Context, inv *invocation, g target) (n nameStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	return n, t.control.call(ctx, "GET", "/v1/registry/names/"+g.name+"/published", nil, &n)
}
