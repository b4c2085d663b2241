package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// eventually waits until a claim about the outside world holds.
func eventually(t testing.TB, claim string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", claim)
		}
	}
}

func TestS3ServerThatIsDownIsUnreachableAndBackAtOnce(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	key := blacklist.Key(version)
	fetchAll := func() error { // with as many connections as there are workers
		var all sync.WaitGroup
		errs := make(chan error, 32)
		for range cap(errs) {
			all.Go(func() { _, err := s.Fetch(t.Context(), key); errs <- err })
		}
		all.Wait()
		close(errs)
		var joined error
		for err := range errs {
			joined = errors.Join(joined, err)
		}
		return joined
	}
	must(t, s.Put(t.Context(), key, body("x")))
	must(t, fetchAll())
	for name, end := range map[string]func(){"killed": srv.Kill, "stopped": srv.Stop} {
		end()
		refused(t, s.Put(t.Context(), blacklist.Key("2.1"), body("x")), registry.ErrUnreachable, "connection refused", srv.Endpoint)
		refused(t, s.PutIndex(t.Context(), blacklist.IndexKey(), version), registry.ErrUnreachable)
		_, err := s.Fetch(t.Context(), key)
		refused(t, err, registry.ErrUnreachable, key)
		must(t, srv.Start())
		if err := fetchAll(); err != nil {
			t.Errorf("%s and started again: %v", name, err)
		}
		// And a restart that nobody noticed: all connections are dead, and no call fails.
		end()
		must(t, srv.Start())
		if err := fetchAll(); err != nil {
			t.Errorf("restarted while idle: %v", err)
		}
		must(t, s.Put(t.Context(), key, body("x")))
	}
}

// What passes in a moment is not shown to anybody.
func TestS3RetriesWhatPassesInAMoment(t *testing.T) {
	srv := startS3(t)
	key := blacklist.Key(version)
	must(t, openS3(t, options(srv)).Put(t.Context(), key, body(strings.Repeat("x", 1<<20))))

	for name, trouble := range map[string]meddler{
		"slow down":      func(w http.ResponseWriter, r *http.Request, _ http.Handler) { complain(w, 503, "SlowDown") },
		"internal error": func(w http.ResponseWriter, r *http.Request, _ http.Handler) { complain(w, 500, "InternalError") },
		"a gateway's word": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Error(w, "<html>", http.StatusBadGateway)
		},
		"a conflict": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			complain(w, 409, "ConditionalRequestConflict")
		},
		"bytes that were garbled on the way": func(w http.ResponseWriter, r *http.Request, _ http.Handler) { complain(w, 400, "BadDigest") },
		"a connection that is cut":           func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"an answer that is cut": func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			whole := httptest.NewRecorder()
			pass.ServeHTTP(whole, r)
			for name, values := range whole.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(whole.Code)
			w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failures, asked atomic.Int32
			way := newTap(t, srv, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				asked.Add(1)
				if failures.Add(-1) >= 0 {
					trouble(w, r, pass)
					return
				}
				pass.ServeHTTP(w, r)
			})
			s := openS3(t, through(srv, way))
			failures.Store(2)
			got, err := s.Fetch(t.Context(), key)
			if err != nil || len(got.Data) != 1<<20 {
				t.Errorf("fetch: %d bytes, %v", len(got.Data), err)
			}
			failures.Store(2)
			must(t, s.PutIndex(t.Context(), blacklist.IndexKey(), version))
			failures.Store(2)
			must(t, s.Put(t.Context(), "data/"+name, body("x")))

			failures.Store(1 << 30)
			asked.Store(0)
			_, err = s.Fetch(t.Context(), key)
			if err == nil {
				t.Error("fetched what never came whole")
			}
			if name != "bytes that were garbled on the way" { // which is said of a put
				refused(t, err, registry.ErrUnreachable, "S3: get "+key)
			}
			if n := asked.Load(); n < 3 || n > 6 { // net/http itself tries once more on a connection that was idle
				t.Errorf("asked %d times, want three", n)
			}
		})
	}
}

// A server that takes a connection and says nothing costs each call what it was given, not more, and a caller without a
// deadline gets away too.
func TestS3ServerThatIsSilent(t *testing.T) {
	asOperator(t, "id", "secret")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	s := openS3(t, mirror.S3Options{Bucket: "b", Endpoint: "http://" + listener.Addr().String(), PathStyle: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Fetch(ctx, "k")
	refused(t, err, context.DeadlineExceeded, "has not answered in time")
}

// A network that was away, or a router that forgot, leaves connections on which nobody ever answers. One call finds out; it is not
// found out once a connection.
func TestS3HalfOpenConnectionsCostOneCall(t *testing.T) {
	srv := startS3(t)
	way := newRelay(t, strings.TrimPrefix(srv.Endpoint, "http://"))
	o := options(srv)
	o.Endpoint = "http://" + way.Addr().String()
	s := openS3(t, o)
	key := blacklist.Key(version)
	must(t, s.Put(t.Context(), key, body(strings.Repeat("x", 1<<20))))
	var all sync.WaitGroup
	s.Close()
	way.hold(16) // so that each has a connection, and there is none on its way that comes when they are forgotten
	for range 16 {
		all.Go(func() {
			if _, err := s.Fetch(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := way.forget(); n != 16 {
		t.Fatalf("%d connections of 16 at a time, so this proves nothing", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Fetch(ctx, key)
	refused(t, err, context.DeadlineExceeded)
	for range 16 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := s.Fetch(ctx, key)
		cancel()
		must(t, err)
	}
}

func TestS3ConnectionsAreUsedAgain(t *testing.T) {
	srv := startS3(t)
	way := newTap(t, srv, nil)
	s := openS3(t, through(srv, way))
	must(t, s.Put(t.Context(), "empty", body("")))
	must(t, s.Put(t.Context(), "large", body(strings.Repeat("x", 1<<20))))
	const workers = 32
	way.set(together(workers)) // or one would dial while another has just done with his, and have two in the end
	for range 5 {
		var all sync.WaitGroup
		for i := range workers {
			all.Go(func() {
				ctx := t.Context()
				_, errEmpty := s.Fetch(ctx, "empty")
				_, errLarge := s.Fetch(ctx, "large")
				_, errNone := s.Fetch(ctx, "none")
				if !errors.Is(errNone, registry.ErrNotExist) {
					t.Error(errNone)
				}
				err := errors.Join(errEmpty, errLarge, s.PutIndex(ctx, "index"+strconv.Itoa(i), version),
					s.Put(ctx, "body"+strconv.Itoa(i), body("x")))
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if n := way.connections.Load(); n > workers+workers/2 {
		t.Errorf("%d connections for %d workers", n, workers)
	}
}

// together answers as many requests at once as there are workers, and none before they have all asked.
func together(workers int) meddler {
	var mu sync.Mutex
	asked, all := 0, make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		mu.Lock()
		mine := all
		if asked++; asked == workers {
			asked, all = 0, make(chan struct{})
			close(mine)
		}
		mu.Unlock()
		select {
		case <-mine:
			pass.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// A failed fetch kept a file of the old system stale for 33 minutes.
func TestS3FetchThatFailedIsDoneWhenTheServerIsBack(t *testing.T) {
	srv := startS3(t)
	reg, err := embedded.Open(filepath.Join(t.TempDir(), "registry.db"), embedded.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, reg.Close()) })
	way := newTap(t, srv, nil)
	const name registry.Name = "config.manageddata.spam.blacklist"
	here := bootMirror(t, reg, openS3(t, options(srv)))
	there := bootMirror(t, reg, openS3(t, through(srv, way)))
	must(t, here.Create(t.Context(), name, nil, []byte("1.2.3.4"), "ann@here"))
	file := disk.File{Kind: registry.Config, Name: string(name)}
	is := func(m *machine, text string) func() bool {
		return func() bool {
			e, ok := m.store.Current(file)
			if !ok {
				return false
			}
			f, err := m.store.OpenBody(e.Stamp)
			must(t, err)
			defer f.Close()
			got, err := io.ReadAll(f)
			must(t, err)
			return string(got) == text
		}
	}
	eventually(t, "the first version is there", is(there, "1.2.3.4"))

	way.set(func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) })
	for n := range 3 {
		_, err = here.Publish(t.Context(), mirror.Publication{Name: name, Body: fmt.Append(nil, "version ", n)})
		must(t, err)
	}
	eventually(t, "writers are refused there", func() bool { return there.Writable() != nil })
	refused(t, there.Writable(), registry.ErrUnreachable)
	must(t, here.Writable())
	eventually(t, "the last good version stays", is(there, "1.2.3.4"))
	way.set(nil)
	eventually(t, "the last version is there", is(there, "version 2"))
	eventually(t, "writers are let in again", func() bool { return there.Writable() == nil })
}

// machine is a mirror that runs, and its disk.
type machine struct {
	*mirror.Mirror
	store *disk.Store
}

func bootMirror(t *testing.T, reg mirror.Registry, bodies mirror.Bodies) *machine {
	t.Helper()
	store, err := disk.Open(t.TempDir(), disk.Options{})
	must(t, err)
	m := mirror.New(reg, bodies, store, mirror.Options{
		Dependencies: []registry.Dependency{"web.dep"}, Create: true, PublishTimeout: time.Minute,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		must(t, store.Close())
	})
	eventually(t, "the mirror is ready", func() bool { return m.Ready() == nil })
	return &machine{m, store}
}
