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
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/embedded"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// startServer runs a monitor of this process: without a mount, on an embedded registry, with the demo, and answering at
// addresses that the kernel chooses.
func startServer(t *testing.T, change func(*monitorSettings)) *server {
	t.Helper()
	s := launchServer(t, change)
	eventually(t, func() error { return s.ready() })
	return s
}

// launchServer is startServer without waiting until it is ready.
func launchServer(t *testing.T, change func(*monitorSettings)) *server {
	t.Helper()
	set := monitorSettings{
		dependencies: []registry.Dependency{registry.BaseDependency}, state: t.TempDir(), noMount: true, group: -1, maxBody: 1 << 20,
		admin: "127.0.0.1:0", metrics: "127.0.0.1:0", demo: true,
	}
	if change != nil {
		change(&set)
	}
	s, err := openServer(set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(s.run(ctx, s.serveFiles), s.close()) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// eventually tries until try succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("after a minute still: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ask sends a request to a face, and returns status and body.
func ask(t *testing.T, f *face, method, path string) (int, string) {
	t.Helper()
	eventually(t, func() error {
		if f.where() == "" {
			return errors.New(f.flag + " answers nowhere")
		}
		return nil
	})
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.where()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAdminAnswersWhatThePythonMonitorWasAsked(t *testing.T) {
	s := startServer(t, nil)
	m, err := s.engine.get()
	if err != nil {
		t.Fatal(err)
	}
	serverset := registry.Name("discovery.test_service.prod")
	if err := m.Create(t.Context(), serverset, []registry.Dependency{registry.BaseDependency}, nil, "root@here"); err != nil {
		t.Fatal(err)
	}
	b, _ := s.engine.behind()
	joined, leave := context.WithCancel(t.Context())
	defer leave()
	for _, endpoint := range []registry.Endpoint{"10.0.0.1:80", "10.0.0.2:80"} {
		go b.registry.(interface {
			Join(context.Context, registry.Name, registry.Member) error
		}).Join(joined, serverset, registry.Member{Endpoint: endpoint})
	}
	for _, question := range []struct {
		path string
		want func(status int, body string) bool
	}{
		{"/admin/ping", func(status int, body string) bool { return status == 200 && body == "Ping!\n" }},
		{"/admin/watched_metaconfigs", is(`["config.manageddata.admin.decider", "config.manageddata.demo.greeting", "discovery.test_service.prod"]`)},
		{"/admin/watched_dependencies", is(`["base.dep"]`)},
		{"/config/config/manageddata/demo/greeting", has(`"run_command_ret": 0`, `"version": `, `"modification_timestamp": `)},
		{"/config/config/manageddata/demo/other", is(`null`)},
		{"/serverset", has(`"/discovery/test_service/prod": {`, `"num_endpoints": 2`, `"hashsum": 161`)},
		{"/serverset/discovery/test_service/prod", has(`"num_endpoints": 2`)},
		{"/admin/details", has(`"/config/manageddata/demo/greeting": {`, `"/discovery/test_service/prod": {`, `"last_success_periodic_check": `,
			`"start_time": "`+isoLocal(s.started)+`"`)},
		{"/admin/rejected_serversets", is(`[]`)},
		{"/admin/rejected_serversets/healthcheck", is(`{"status": 200}`)},
		{"/admin/healthcheck", is(`{"status": 200}`)},
		{"/healthz", func(status int, body string) bool { return status == 200 && body == "ok\n" }},
		{"/readyz", func(status int, body string) bool { return status == 200 && body == "yes\n" }},
	} {
		eventually(t, func() error {
			if status, body := ask(t, s.admin, "GET", question.path); !question.want(status, body) {
				return errors.New(question.path + " answers " + http.StatusText(status) + ": " + body)
			}
			return nil
		})
	}
}

func is(want string) func(int, string) bool {
	return func(status int, body string) bool { return status == 200 && strings.TrimSpace(body) == want }
}

func has(want ...string) func(int, string) bool {
	return func(status int, body string) bool {
		return status == 200 && json.Valid([]byte(body)) && !slices.ContainsFunc(want, func(s string) bool { return !strings.Contains(body, s) })
	}
}

// Anybody on the network could kill the Python monitor, or make it ignore all further versions.
func TestO6AdminChangesNothing(t *testing.T) {
	s := startServer(t, nil)
	for _, request := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/admin/kill", http.StatusNotFound},
		{"POST", "/admin/kill", http.StatusNotFound},
		{"POST", "/admin/report_metadata", http.StatusNotFound},
		{"POST", "/admin/report_file_modification", http.StatusNotFound},
		{"POST", "/admin/watch/config/manageddata/demo/greeting", http.StatusNotFound},
		{"POST", "/admin/healthcheck", http.StatusMethodNotAllowed},
		{"PUT", "/config/config/manageddata/demo/greeting", http.StatusMethodNotAllowed},
		{"DELETE", "/serverset", http.StatusMethodNotAllowed},
		{"GET", "/debug/pprof/", http.StatusNotFound},
	} {
		if got, body := ask(t, s.admin, request.method, request.path); got != request.want {
			t.Errorf("%s %s: %d %s, want %d", request.method, request.path, got, body, request.want)
		}
	}
	first, _ := ask(t, s.admin, "GET", "/admin/details")
	second, body := ask(t, s.admin, "GET", "/config/config/manageddata/demo/greeting")
	if first != 200 || second != 200 || strings.Contains(body, "hashsum") {
		t.Errorf("asking for details changed what is said of a config: %s", body)
	}
	if err := s.ready(); err != nil {
		t.Error(err)
	}
}

func TestX3AdminIsForThisMachineAlone(t *testing.T) {
	if at := settings()[slices.IndexFunc(settings(), func(o option) bool { return o.name == "admin" })].value; at != "127.0.0.1:9898" {
		t.Errorf("by default it answers at %v", at)
	}
	s := startServer(t, nil)
	ask(t, s.admin, "GET", "/healthz") // it is there
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.admin.where()+"/config", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "rebound.example:80" // as a browser says it whose page lied about its address
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("%s asked in the name of another host", response.Status)
	}
}

func TestMetricsNameNothing(t *testing.T) {
	s := startServer(t, nil)
	if _, err := s.publish(t.Context(), mirror.Publication{Name: demoName, Body: []byte(`{"a": 1}`), Author: "ann@here"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := testutil.CollectAndCount(s.metrics.propagation); n != 2 { // of configs, and of deciders
			return errors.New("no propagation was observed")
		}
		return nil
	})
	wanted := []string{
		"kingpin_ready 1", `kingpin_names{kind="config"} 2`, `kingpin_publishes_total{result="ok"} 3`, // with the demo
		`kingpin_stale_names{kind="config"} 0`, "kingpin_stale_seconds_max 0", `kingpin_held{reason="empty"} 0`, `kingpin_registrations{state="registered"} 0`, `kingpin_build_info{`,
		`kingpin_propagation_seconds_count{kind="config"}`, "go_goroutines", "process_resident_memory_bytes",
	}
	body := ""
	eventually(t, func() error { // the config of the deciders is followed a moment after it was made
		status := 0
		if status, body = ask(t, s.public, "GET", "/metrics"); status != 200 {
			return fmt.Errorf("%d %s", status, body)
		}
		for _, want := range wanted {
			if !strings.Contains(body, want) {
				return fmt.Errorf("no %s in\n%s", want, body)
			}
		}
		return nil
	})
	if strings.Contains(body, "greeting") {
		t.Error("the name of a config is in the metrics")
	}
	if status, _ := ask(t, s.public, "GET", "/config"); status != http.StatusNotFound {
		t.Errorf("the address for other machines answers /config with %d", status)
	}
	problems, err := testutil.GatherAndLint(s.metrics.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// A monitor whose registry cannot be opened serves what is on disk, and says so to who asks whether it is healthy.
func TestO1HealthIsTrue(t *testing.T) {
	s := startServer(t, nil)
	if got := s.oldHealth(); got != http.StatusOK {
		t.Errorf("healthy: %d", got)
	}
	s.engine.mu.Lock()
	followed := s.engine.mirror
	s.engine.mirror, s.engine.trouble = nil, errors.New("registry.db is damaged")
	s.engine.mu.Unlock()
	if got := s.oldHealth(); got != http.StatusInternalServerError {
		t.Errorf("with a registry that cannot be opened: %d", got)
	}
	if status, body := ask(t, s.admin, "GET", "/readyz"); status != http.StatusOK {
		t.Errorf("what is on disk is served, but it is not ready: %d %s", status, body)
	}
	s.engine.mu.Lock()
	s.engine.mirror, s.engine.trouble = followed, nil
	s.engine.mu.Unlock()
}

// Who has seen that the monitor serves may ask it for something at once: the first commands after a restart wait for the registry.
func TestTheFirstCommandWaitsForTheRegistry(t *testing.T) {
	state := t.TempDir()
	former, err := embedded.Open(filepath.Join(state, registryFile), embedded.Options{}) // as the monitor before, which is just ending
	if err != nil {
		t.Fatal(err)
	}
	s := launchServer(t, func(set *monitorSettings) { set.state = state })
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		answer := httptest.NewRecorder()
		s.routes().ServeHTTP(answer, httptest.NewRequest("GET", "/v1/registry/names", nil))
		answered <- answer
	}()
	select {
	case answer := <-answered:
		t.Errorf("before the registry is open: %d %s", answer.Code, answer.Body)
		answered <- answer
	case <-time.After(100 * time.Millisecond):
	}
	if err := former.Close(); err != nil {
		t.Fatal(err)
	}
	if answer := <-answered; answer.Code != http.StatusOK {
		t.Errorf("it did not wait: %d %s", answer.Code, answer.Body)
	}
}

func TestFaceWaitsForItsAddress(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(set *monitorSettings) { set.admin = other.Addr().String() })
	if at := s.admin.where(); at != "" {
		t.Fatalf("answers at %s, where somebody else does", at)
	}
	other.Close()
	if status, body := ask(t, s.admin, "GET", "/healthz"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestAddresses(t *testing.T) {
	for address, valid := range map[string]bool{
		"127.0.0.1:9898": true, ":9899": true, "[::1]:9898": true, "off": true, "": true, "unix:/run/kingpin/admin.sock": true,
		"9898": false, "localhost": false, "unix:admin.sock": false,
	} {
		if err := checkAddress("admin", address); (err == nil) != valid {
			t.Errorf("%q: %v", address, err)
		}
	}
}
