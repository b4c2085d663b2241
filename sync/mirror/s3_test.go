package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// blacklist is a name, and version one of its versions, as the old system made them.
const (
	blacklist registry.Pointer = "/config/manageddata/spam/blacklist"
	version   registry.Version = "1795296152.52"
)

func options(s *server.S3Server) mirror.S3Options {
	return mirror.S3Options{Bucket: s.Bucket, Endpoint: s.Endpoint, PathStyle: true}
}

// asOperator is the environment of a process that has these credentials, and nothing from this machine.
func asOperator(t testing.TB, key, secret string) {
	t.Helper()
	nowhere := t.TempDir() + "/none"
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
	} {
		t.Setenv(name, value)
	}
}

// openS3 opens a store until the test ends.
func openS3(t testing.TB, o mirror.S3Options) *mirror.S3 {
	t.Helper()
	s, err := mirror.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// startS3 runs a real server and gives this process its credentials.
func startS3(t testing.TB) *server.S3Server {
	t.Helper()
	s := server.StartS3(t)
	asOperator(t, s.AccessKey, s.SecretKey)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused says whether err is what is wanted, and whether its words help.
func refused(t testing.TB, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want one that is %v", err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got error %q, want %q in it", err, word)
		}
	}
}

// body is what this system publishes: with a checksum.
func body(text string) registry.Body {
	return registry.Body{Data: []byte(text), Meta: registry.Meta{SHA256: registry.Sum([]byte(text)), Author: "ann@web1"}}
}

// holds says whether the store has these bytes.
func holds(t testing.TB, s *mirror.S3, key, want string) {
	t.Helper()
	got, err := s.Fetch(t.Context(), key)
	if err != nil || string(got.Data) != want {
		t.Errorf("fetch %s: %.80q, %v, want %.80q", key, got.Data, err, want)
	}
}

// tap is the way to an S3 server, on which a test listens and meddles.
type tap struct {
	URL         string
	connections atomic.Int32 // opened so far

	mu     sync.Mutex
	meddle meddler
}

// A meddler may answer a request itself, or pass it on.
type meddler func(w http.ResponseWriter, r *http.Request, pass http.Handler)

func newTap(t testing.TB, s *server.S3Server, m meddler) *tap {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	must(t, err)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Host, r.Out.URL.Scheme = target.Host, target.Scheme },
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	p := &tap{meddle: m}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		meddle := p.meddle
		p.mu.Unlock()
		if meddle == nil {
			pass.ServeHTTP(w, r)
			return
		}
		meddle(w, r, pass)
	}))
	front.Config.ErrorLog = pass.ErrorLog
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			p.connections.Add(1)
		}
	}
	front.Start()
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
		transport.CloseIdleConnections()
	})
	p.URL = front.URL
	return p
}

func (p *tap) set(m meddler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meddle = m
}

// through are the options of a store that is reached by way of a tap.
func through(s *server.S3Server, p *tap) mirror.S3Options {
	o := options(s)
	o.Endpoint = p.URL
	return o
}

// A body that somebody changed behind our back, by a disk error or by hand, must not reach anybody.
func TestS3BodyThatWasOverwrittenIsNotHandedOut(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	key := blacklist.Key(version)
	must(t, s.Put(t.Context(), key, body("1.2.3.4")))
	must(t, os.WriteFile(srv.Object(key), []byte("6.6.6.6"), 0o644))
	got, err := s.Fetch(t.Context(), key)
	refused(t, err, registry.ErrChecksum, key)
	if len(got.Data) != 0 {
		t.Errorf("fetch returned %q with its error", got.Data)
	}
	refused(t, s.Put(t.Context(), key, body("1.2.3.4")), registry.ErrExist) // a version that cannot be fetched is no success
}

func TestS3ChecksumThatIsNoneIsNotBelieved(t *testing.T) {
	sum := registry.Sum([]byte("x"))
	for _, claim := range []string{"", "none", "abcd", fmt.Sprintf("%x", sum[:31]), strings.Repeat("f", 1000)} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-amz-meta-sha256", claim)
			io.WriteString(w, "x")
		}))
		t.Cleanup(srv.Close)
		asOperator(t, "id", "secret")
		_, err := openS3(t, mirror.S3Options{Bucket: "b", Endpoint: srv.URL, PathStyle: true}).Fetch(t.Context(), "k")
		refused(t, err, registry.ErrChecksum)
	}
}

// What the Python KingPin has put carries nothing beside its bytes.
func TestS3BodyOfTheOldSystemIsFetched(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	key := blacklist.Key(version)
	must(t, s.PutIndex(t.Context(), key, `["base", "two"]`)) // which carries nothing either
	got, err := s.Fetch(t.Context(), key)
	if err != nil || string(got.Data) != `["base", "two"]` || got.Meta != (registry.Meta{}) {
		t.Errorf("fetched %+v, %v", got, err)
	}
	refused(t, s.Put(t.Context(), key, body("mine")), registry.ErrExist)
	holds(t, s, key, `["base", "two"]`)
}

func TestS3LimitIsCheckedBeforeTheBodyIsRead(t *testing.T) {
	srv := startS3(t)
	o := options(srv)
	o.MaxBody = 1000
	s, large := openS3(t, o), openS3(t, options(srv))
	key := blacklist.Key(version)

	exact, over := strings.Repeat("x", 1000), strings.Repeat("x", 1001)
	must(t, s.Put(t.Context(), key, body(exact)))
	holds(t, s, key, exact)
	refused(t, s.Put(t.Context(), blacklist.Key("1.1"), body(over)), registry.ErrTooLarge, "1001", "1000")
	must(t, large.Put(t.Context(), blacklist.Key("1.2"), body(over)))
	_, err := s.Fetch(t.Context(), blacklist.Key("1.2"))
	refused(t, err, registry.ErrTooLarge, "1001", "1000")

	var sent atomic.Int64
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "said") {
			w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<50))
		}
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 4096))
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	o.Endpoint = endless.URL
	s = openS3(t, o)
	for _, key := range []string{"said", "unsaid"} {
		_, err := s.Fetch(t.Context(), key)
		refused(t, err, registry.ErrTooLarge)
	}
	if sent.Load() > 64<<20 {
		t.Errorf("%d bytes were sent to whom takes 1000", sent.Load())
	}
}

// An attempt whose answer is lost has put the body; the next one must not be told that somebody else was first.
func TestS3PutWhoseAnswerIsLostSucceeds(t *testing.T) {
	srv := startS3(t)
	var puts atomic.Int32
	way := newTap(t, srv, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut && puts.Add(1) == 1 {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	})
	s := openS3(t, through(srv, way))
	key := blacklist.Key(version)
	must(t, s.Put(t.Context(), key, body("once")))
	holds(t, s, key, "once")
	if puts.Load() != 2 {
		t.Errorf("%d puts, want two", puts.Load())
	}
	refused(t, s.Put(t.Context(), key, body("twice")), registry.ErrExist)
}

// A server may refuse a large body without reading it, and close the connection: the refusal does not always arrive.
func TestS3LargeBodyIsPutTwice(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	large, other := body(strings.Repeat("x", 16<<20)), body(strings.Repeat("y", 16<<20))
	for range 5 {
		must(t, s.Put(t.Context(), "k", large))
		refused(t, s.Put(t.Context(), "k", other), registry.ErrExist)
	}
}

func TestS3BodyThatIsMissing(t *testing.T) {
	srv := startS3(t)
	_, err := openS3(t, options(srv)).Fetch(t.Context(), "k")
	refused(t, err, registry.ErrNotExist, "NoSuchKey")
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	t.Cleanup(silent.Close)
	o := options(srv)
	o.Endpoint = silent.URL
	_, err = openS3(t, o).Fetch(t.Context(), "k")
	refused(t, err, registry.ErrNotExist)
}

// journal is a logger's output.
type journal struct {
	mu sync.Mutex
	bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.Write(line)
}

// Not every S3 server knows If-None-Match. Whoever publishes there is told, and is as safe as can be.
func TestS3ServerWithoutConditionalPut(t *testing.T) {
	asOperator(t, "id", "secret")
	store := gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server()
	for name, serve := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				complain(w, http.StatusNotImplemented, "NotImplemented")
				return
			}
			store.ServeHTTP(w, r)
		},
		"overwrites": func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			store.ServeHTTP(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(serve)
			t.Cleanup(srv.Close)
			var said journal
			s := openS3(t, mirror.S3Options{
				Bucket: "b", Endpoint: srv.URL, PathStyle: true, Logger: slog.New(slog.NewTextHandler(&said, nil)),
			})
			key := func(n int) string { return blacklist.Key(registry.Version(fmt.Sprintf("%s.%d", name, n))) }
			for n := range 3 {
				must(t, s.Put(t.Context(), key(n), body("first")))
				must(t, s.Put(t.Context(), key(n), body("first")))
				refused(t, s.Put(t.Context(), key(n), body("second")), registry.ErrExist)
				holds(t, s, key(n), "first")
			}
			if n := strings.Count(said.String(), "level=WARN"); n != 1 || !strings.Contains(said.String(), "If-None-Match") {
				t.Errorf("%d warnings, want one: %s", n, said.String())
			}
		})
	}
}

// The server of most people costs one more request, once.
func TestS3ServerIsProvenOnce(t *testing.T) {
	srv := startS3(t)
	var puts atomic.Int32
	way := newTap(t, srv, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		puts.Add(1)
		pass.ServeHTTP(w, r)
	})
	var said journal
	o := through(srv, way)
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	s := openS3(t, o)
	for n := range 10 {
		must(t, s.Put(t.Context(), blacklist.Key(registry.Version(fmt.Sprint("1.", n))), body("x")))
	}
	if puts.Load() != 11 || said.Len() != 0 {
		t.Errorf("%d requests for ten puts, and %q", puts.Load(), said.String())
	}
}

// complain answers as S3 does.
func complain(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>because</Message></Error>`, code)
}

// Nobody waits for a server longer than he wants to.
func TestS3CallsEndWithTheirContext(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	must(t, s.Put(t.Context(), "before", body("x"))) // with a connection that is open
	must(t, srv.Pause())
	for name, call := range map[string]func(context.Context) error{
		"put":   func(ctx context.Context) error { return s.Put(ctx, "k", body("x")) },
		"index": func(ctx context.Context) error { return s.PutIndex(ctx, "k", "1.0") },
		"fetch": func(ctx context.Context) error { _, err := s.Fetch(ctx, "before"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		refused(t, call(ctx), context.DeadlineExceeded, name[:1], srv.Endpoint)
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		refused(t, call(ctx), context.Canceled)
	}
	must(t, srv.Resume())
	holds(t, s, "before", "x")
}
