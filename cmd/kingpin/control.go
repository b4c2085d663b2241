package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// The control socket is HTTP over <state>/control.sock, mode 0660, owned by root and the publish group: who may connect may do all
// of it, but nothing that changes something on a read-only monitor. Bodies are the JSON of api.go where nothing else is said. What is no
// success answers with an apiError and the status of the table of failures.
//
//	GET    /v1/monitor                            monitorStatus
//	GET    /v1/names                              []nameStatus: those followed here
//	GET    /v1/names/NAME                         nameStatus
//	GET    /v1/publishes                          []publishRecord
//	POST   /v1/names                              createRequest -> created
//	PUT    /v1/names/NAME                         the bytes of a new version -> published
//	           ?message=TEXT &base=VERSION &force=1 &try=1 (check only)
//	GET    /v1/names/NAME/versions/VERSION        the bytes of a version; a number N means N before the current one
//	GET    /v1/registry/names                     []listedName: all of the registry
//	GET    /v1/registry/names/NAME                knownName
//	GET    /v1/dependencies                       []dependencyStatus: all of the registry
//	PUT    /v1/dependencies/DEP                   makes an empty one
//	DELETE /v1/dependencies/DEP                   deletes an empty one
//	POST   /v1/dependencies/DEP/members           memberRequest: subscribes -> dependencyStatus
//	DELETE /v1/dependencies/DEP/members           memberRequest: unsubscribes -> dependencyStatus
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /v1/monitor":                       func(*http.Request) (any, error) { return s.status(), nil },
		"GET /v1/names":                         func(*http.Request) (any, error) { return s.names(), nil },
		"GET /v1/names/{name}":                  s.getName,
		"GET /v1/publishes":                     func(*http.Request) (any, error) { return s.publishes.list(), nil },
		"POST /v1/names":                        s.changing(s.postName),
		"PUT /v1/names/{name}":                  s.changing(s.putName),
		"GET /v1/names/{name}/versions/{which}": s.getVersion,
		"GET /v1/registry/names":                s.getRegistryNames,
		"GET /v1/registry/names/{name}":         s.getRegistryName,
		"GET /v1/dependencies":                  s.getDependencies,
		"PUT /v1/dependencies/{dep}":            s.changing(s.putDependency),
		"DELETE /v1/dependencies/{dep}":         s.changing(s.deleteDependency),
		"POST /v1/dependencies/{dep}/members":   s.changing(s.postMembers),
		"DELETE /v1/dependencies/{dep}/members": s.changing(s.deleteMembers),
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := answer(r)
			s.answer(w, r, result, err)
		})
	}
	return mux
}

// controlTimeout bounds what a request may take: longer than a publication does.
const controlTimeout = 30 * time.Second

// serveControl answers on the control socket until ctx ends, then finishes what is under way.
func (s *server) serveControl(ctx context.Context, listener net.Listener) error {
	web := &http.Server{
		Handler:           http.TimeoutHandler(s.routes(), controlTimeout, `{"kind":"timeout","message":"the monitor took too long"}`),
		ReadHeaderTimeout: controlTimeout,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			p, err := peerOf(conn)
			if err != nil {
				s.log.Warn("control socket: who is it?", "error", err)
			}
			return context.WithValue(ctx, peerKey{}, p)
		},
	}
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
		defer cancel()
		if err := web.Shutdown(ending); err != nil {
			s.log.Warn("control socket: a request did not end", "error", err)
		}
	})
	err := web.Serve(listener)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// peerKey is where a request's context has its peer.
type peerKey struct{}

func author(r *http.Request, host string) string {
	p, _ := r.Context().Value(peerKey{}).(peer)
	return p.author(host)
}

// answer writes a result: bytes as they are, anything else as JSON.
func (s *server) answer(w http.ResponseWriter, r *http.Request, result any, err error) {
	if err != nil {
		said := apiError{Kind: "failed", Message: err.Error()}
		status := http.StatusInternalServerError
		for _, f := range failures {
			if errors.Is(err, f.err) || errors.Is(err, f.errno) {
				said.Kind, status = f.kind, f.status
				break
			}
		}
		if r.Method != "GET" {
			s.log.Info("refused", "request", r.Method+" "+r.URL.Path, "author", author(r, s.host), "err", err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(said) // the peer is gone if this fails
		return
	}
	if data, ok := result.([]byte); ok {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(data)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(result)
}

// changing refuses a request on a monitor that is read only.
func (s *server) changing(answer func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		if s.set.readOnly {
			return nil, fmt.Errorf("this monitor is read only: %w", registry.ErrReadOnly)
		}
		return answer(r)
	}
}

// body reads what a request carries, as JSON, of at most the size of a body and some words around it.
func (s *server) decode(r *http.Request, into any) error {
	limit := s.set.maxBody*4/3 + 1<<20 // base64 makes four bytes of three
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if err != nil {
		return fmt.Errorf("request: %v: %w", err, registry.ErrTooLarge)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("request: %v: %w", err, registry.ErrInvalid)
	}
	return nil
}

func (s *server) getName(r *http.Request) (any, error) {
	for _, n := range s.names() {
		if n.Name == r.PathValue("name") {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is not followed here: %w", r.PathValue("name"), registry.ErrNotExist)
}

func (s *server) postName(r *http.Request) (any, error) {
	var c createRequest
	if err := s.decode(r, &c); err != nil {
		return nil, err
	}
	name, err := registry.ParseName(c.Name)
	if err != nil {
		return nil, err
	}
	deps := s.set.dependencies[:1]
	if len(c.Dependencies) > 0 {
		deps = nil
	}
	for _, word := range c.Dependencies {
		d, err := registry.ParseDependency(word)
		if err != nil {
			return nil, err
		}
		deps = append(deps, d)
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := m.Create(r.Context(), name, deps, c.Body, author(r, s.host)); err != nil {
		return nil, err
	}
	s.log.Info("created", "name", name, "dependencies", deps, "author", author(r, s.host), "took", time.Since(started))
	graph := s.store.Graph()
	done := created{Name: c.Name, Kind: name.Kind().String(), Dependencies: texts(deps)}
	for _, d := range deps {
		if _, ok := graph.Dir(d); ok {
			done.Followed = true
		}
	}
	return done, nil
}

func (s *server) putName(r *http.Request) (any, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, s.set.maxBody))
	if err != nil {
		return nil, fmt.Errorf("publish %s: %v: %w", name, err, registry.ErrTooLarge)
	}
	query := r.URL.Query()
	p := mirror.Publication{
		Name: name, Body: body, Author: author(r, s.host), Message: query.Get("message"),
		Base: registry.Version(query.Get("base")), CompareAndSet: query.Has("base"), Force: query.Get("force") == "1",
	}
	before, _ := s.store.Current(fileOf(name))
	if query.Get("try") == "1" {
		return struct{}{}, s.try(r.Context(), p)
	}
	entry, err := s.publish(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return published{Name: string(name), Version: string(entry.Version), Changed: entry.Version != before.Version}, nil
}

func (s *server) getVersion(r *http.Request) (any, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	which := r.PathValue("which")
	file := fileOf(name)
	current, ok := s.store.Current(file)
	if !ok {
		return nil, fmt.Errorf("%s is not followed here: %w", name, registry.ErrNotExist)
	}
	versions := append(s.store.SupersededOf(file), current) // oldest first
	if n, err := strconv.ParseUint(which, 10, 16); err == nil {
		if int(n) >= len(versions) {
			return nil, fmt.Errorf("%s@%s: only %s of it are here: %w", name, which, count(len(versions), "version"), registry.ErrNotExist)
		}
		which = string(versions[len(versions)-1-int(n)].Version)
	}
	for _, e := range versions {
		if string(e.Version) == which {
			return s.readBody(e.Stamp)
		}
	}
	version, err := registry.ParseVersion(which)
	if err != nil {
		return nil, err
	}
	body, err := s.engine.fetch(r.Context(), name.Pointer().Key(version))
	if err != nil {
		return nil, fmt.Errorf("%s@%s: %w", name, which, err)
	}
	return body.Data, nil
}

func (s *server) getRegistryNames(r *http.Request) (any, error) {
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	names, err := m.Names(r.Context())
	if err != nil {
		return nil, err
	}
	followed := s.followed()
	list := make([]listedName, 0, len(names))
	for _, n := range names {
		_, here := followed[n]
		list = append(list, listedName{Name: string(n), Kind: n.Kind().String(), Followed: here})
	}
	return list, nil
}

func (s *server) getRegistryName(r *http.Request) (any, error) {
	word := r.PathValue("name")
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	names, err := m.Names(r.Context())
	if err != nil {
		return nil, err
	}
	known := knownName{listedName: listedName{Name: word}, Dependencies: []string{}}
	for _, n := range names {
		if string(n) == word {
			known.Exists, known.Kind = true, n.Kind().String()
			_, known.Followed = s.followed()[n]
		}
	}
	if !known.Exists {
		near, _ := registry.Nearest(word, names)
		known.Nearest = string(near)
		return known, nil
	}
	all, err := s.dependencies(r.Context(), m)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if slices.Contains(d.Members, word) {
			known.Dependencies = append(known.Dependencies, d.Name)
		}
	}
	return known, nil
}

func (s *server) getDependencies(r *http.Request) (any, error) {
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	return s.dependencies(r.Context(), m)
}

// dependencies of the whole registry, with their members.
func (s *server) dependencies(ctx context.Context, m *mirror.Mirror) ([]dependencyStatus, error) {
	names, err := m.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]dependencyStatus, 0, len(names))
	for _, d := range names {
		one, err := s.dependency(ctx, m, d)
		if errors.Is(err, registry.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (s *server) dependency(ctx context.Context, m *mirror.Mirror, d registry.Dependency) (dependencyStatus, error) {
	edges, err := m.Edges(ctx, d)
	if err != nil {
		return dependencyStatus{}, err
	}
	_, followed := s.store.Graph().Dir(d)
	return dependencyStatus{Name: string(d), Members: texts(edges), Followed: followed}, nil
}

func (s *server) putDependency(r *http.Request) (any, error) {
	return s.onDependency(r, "created", func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		return m.CreateDependency(ctx, d)
	})
}

func (s *server) deleteDependency(r *http.Request) (any, error) {
	return s.onDependency(r, "deleted", func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		return m.DeleteDependency(ctx, d)
	})
}

func (s *server) postMembers(r *http.Request) (any, error) {
	return s.onMembers(r, "subscribed", (*mirror.Mirror).Subscribe)
}

func (s *server) deleteMembers(r *http.Request) (any, error) {
	return s.onMembers(r, "unsubscribed", (*mirror.Mirror).Unsubscribe)
}

func (s *server) onMembers(r *http.Request, done string, change func(*mirror.Mirror, context.Context, registry.Dependency, ...registry.Edge) error) (any, error) {
	var request memberRequest
	if err := s.decode(r, &request); err != nil {
		return nil, err
	}
	var edges []registry.Edge
	for _, word := range request.Members {
		e, err := registry.ParseEdge(word)
		if err != nil {
			return nil, err
		}
		edges = append(edges, e)
	}
	if len(edges) == 0 {
		return nil, fmt.Errorf("no members were named: %w", registry.ErrInvalid)
	}
	return s.onDependency(r, done, func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		return change(m, ctx, d, edges...)
	}, "members", edges)
}

// onDependency changes the dependency of a request, logs who did it, and answers with what it is then.
func (s *server) onDependency(r *http.Request, done string, change func(context.Context, *mirror.Mirror, registry.Dependency) error, about ...any) (any, error) {
	d, err := registry.ParseDependency(r.PathValue("dep"))
	if err != nil {
		return nil, err
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	if err := change(r.Context(), m, d); err != nil {
		return nil, err
	}
	s.log.Info(done, append([]any{"dependency", d, "author", author(r, s.host)}, about...)...)
	if r.Method == "DELETE" && about == nil {
		return dependencyStatus{Name: string(d), Members: []string{}}, nil
	}
	return s.dependency(r.Context(), m, d)
}
