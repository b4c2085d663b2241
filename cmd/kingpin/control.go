package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// The control socket is HTTP over <state>/control.sock, mode 0660, owned by root and the publish group: who may connect may do all
// of it, but nothing that changes something on a read-only monitor. Bodies are the JSON of api.go where nothing else is said. What is no
// success answers with an apiError and the status of the table of failures.
//
//	GET    /v1/monitor                            monitorStatus
//	GET    /v1/reach                              monitorStatus, after registry and bodies were asked whether they answer
//	GET    /v1/names                              []nameStatus: those followed here
//	GET    /v1/names/NAME                         nameStatus
//	GET    /v1/names/NAME/members                 []serversetMember: the lines of its file
//	GET    /v1/names/NAME/metaconfig              the bytes; empty: nobody has written it
//	PUT    /v1/names/NAME/metaconfig              the bytes of another one -> the bytes; ?spread=TIME instead of them
//	POST   /v1/names/NAME/accept                  acceptRequest: believes what the registry shows of a serverset -> acceptance
//	GET    /v1/serversets                         []serversetStatus: those followed here
//	GET    /v1/publishes                          []publishRecord
//	GET    /v1/registrations                      []registrationStatus
//	GET    /v1/stacks                             what each goroutine does, as text
//	POST   /v1/names                              createRequest -> created
//	PUT    /v1/names/NAME                         the bytes of a new version -> published
//	           ?message=TEXT &base=VERSION &force=1 &try=1 (check only)
//	DELETE /v1/names/NAME                         takes it out of the registry, if nobody has it -> removed
//	GET    /v1/names/NAME/versions?most=N         versionList: the last N that were current
//	GET    /v1/names/NAME/versions/VERSION        the bytes of a version; a number N means N before the current one
//	GET    /v1/registry/names                     []listedName: all of the registry
//	GET    /v1/registry/names/NAME                knownName
//	GET    /v1/registry/names/NAME/published      nameStatus: as the registry has it now, followed here or not
//	GET    /v1/registry/names/NAME/body           the bytes that are published now
//	POST   /v1/ensemble/accept                    believes an ensemble that updates are frozen for -> accepted
//	GET    /v1/dependencies                       []dependencyStatus: all of the registry
//	PUT    /v1/dependencies/DEP                   makes an empty one
//	DELETE /v1/dependencies/DEP                   deletes an empty one
//	POST   /v1/dependencies/DEP/members           memberRequest: subscribes -> dependencyStatus
//	DELETE /v1/dependencies/DEP/members           memberRequest: unsubscribes -> dependencyStatus
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /v1/monitor":                         func(*http.Request) (any, error) { return s.status(), nil },
		"GET /v1/reach":                           func(*http.Request) (any, error) { return s.getReach() },
		"GET /v1/names":                           func(*http.Request) (any, error) { return s.names(), nil },
		"GET /v1/names/{name}":                    s.getName,
		"GET /v1/serversets":                      func(*http.Request) (any, error) { return s.serversets(), nil },
		"GET /v1/names/{name}/members":            s.getMembers,
		"GET /v1/names/{name}/metaconfig":         s.getMetaconfig,
		"PUT /v1/names/{name}/metaconfig":         s.changing(s.putMetaconfig),
		"POST /v1/names/{name}/accept":            s.postAcceptance,
		"GET /v1/registrations":                   func(*http.Request) (any, error) { return s.registrations(), nil },
		"GET /v1/stacks":                          getStacks,
		"GET /v1/publishes":                       func(*http.Request) (any, error) { return s.publishes.list(), nil },
		"POST /v1/names":                          s.changing(s.postName),
		"DELETE /v1/names/{name}":                 s.changing(s.deleteName),
		"PUT /v1/names/{name}":                    s.changing(s.putName),
		"GET /v1/names/{name}/versions":           s.getVersions,
		"GET /v1/names/{name}/versions/{which}":   s.getVersion,
		"GET /v1/registry/names":                  s.getRegistryNames,
		"GET /v1/registry/names/{name}":           s.getRegistryName,
		"GET /v1/registry/names/{name}/published": s.getPublished,
		"GET /v1/registry/names/{name}/body":      s.getBody,
		"POST /v1/ensemble/accept":                s.postAccept,
		"GET /v1/dependencies":                    s.getDependencies,
		"PUT /v1/dependencies/{dep}":              s.changing(s.putDependency),
		"DELETE /v1/dependencies/{dep}":           s.changing(s.deleteDependency),
		"POST /v1/dependencies/{dep}/members":     s.changing(s.postMembers),
		"DELETE /v1/dependencies/{dep}/members":   s.changing(s.deleteMembers),
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !s.direct && asksRegistry(pattern) {
				s.engine.awaitOpening()
			}
			result, err := answer(r)
			if err == nil && changes(pattern) {
				s.settle(r.Context())
			}
			s.answer(w, r, result, err)
		})
	}
	return mux
}

// controlTimeout bounds what a request may take: longer than a publication does.
const controlTimeout = 30 * time.Second

// controlPause is how long the control socket stays away when it cannot be made: a full disk must not take the reads with it.
const controlPause = 5 * time.Second

// keepControl answers on the control socket until ctx ends, whatever happens to it.
func (s *server) keepControl(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.control(ctx); err != nil {
			s.log.Error("no control socket; the mount is served without it", "error", err, "again_in", controlPause)
			select {
			case <-time.After(controlPause):
			case <-ctx.Done():
			}
		}
	}
}

// control answers on the control socket until ctx ends, then finishes what is under way.
func (s *server) control(ctx context.Context) error {
	path := filepath.Join(s.set.state, controlSocket)
	listener, err := listenSocket(path, s.set.group)
	if err != nil {
		return err
	}
	ours, _ := os.Lstat(path)
	defer closeSocket(path, ours)
	web := &http.Server{
		Handler:           http.TimeoutHandler(s.routes(), controlTimeout, `{"kind":"timeout","message":"the monitor took too long"}`),
		ReadHeaderTimeout: controlTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			p, err := peerOf(conn)
			if err != nil {
				s.log.Warn("control socket: who is it?", "error", err)
			}
			return context.WithValue(ctx, peerKey{}, p)
		},
	}
	if err := serveWeb(ctx, listener, web); err != nil {
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
		said := apiError{Kind: "failed", Message: words(err), Hints: []string{}}
		if h, ok := errors.AsType[hinted](err); ok {
			said.Hints = h.hints
		}
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

// changing refuses a request on a monitor that is read only. What it lets through is done to its end, also when the client goes away.
func (s *server) changing(answer func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		if s.set.readOnly {
			return nil, fmt.Errorf("this monitor is read only: %w", registry.ErrReadOnly)
		}
		if s.direct {
			return answer(r) // the client does not go away, it is us
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), controlTimeout)
		defer cancel()
		return answer(r.WithContext(ctx))
	}
}

// decode reads what a request carries, as JSON, of at most the size of a body and some words around it.
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
