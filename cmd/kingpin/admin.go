package main

import (
	"crypto/md5"
	"io"
	"math/big"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The admin face is HTTP at --admin, by default on the loopback. It changes nothing: whatever is not GET is refused. Beside what
// probes and Prometheus ask for it answers what people and scripts asked the Python monitor, in its JSON, as far as that was a
// question. Lists are never null, times are seconds since 1970 where they were.
//
//	/healthz                                the process answers
//	/readyz                                 200 or 503: as .status/ready
//	/metrics                                for Prometheus
//	/admin/ping                             Ping!
//	/admin/healthcheck                      200 {"status": 200}; 204 while not ready; 500 if nothing is followed any more
//	/admin/watched_metaconfigs              the names that are followed here
//	/admin/watched_dependencies             the dependencies that are followed here
//	/config, /config/PATH                   how configs are, by the path of their node; one of them, or null
//	/serverset, /serverset/PATH             the same of serversets
//	/admin/details                          both, and since when
//	/admin/rejected_serversets              the paths of those that are held
//	/admin/rejected_serversets/healthcheck  200 {"status": 200}, 500 if one is held
//	/debug/pprof/                           with --pprof
func (s *server) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	s.probeRoutes(mux)
	for pattern, answer := range map[string]func(*http.Request) any{
		"GET /config":                     func(*http.Request) any { return s.oldConfigs() },
		"GET /config/{path...}":           func(r *http.Request) any { return pick(s.oldConfigs(), r) },
		"GET /serverset":                  func(*http.Request) any { return s.oldServersets() },
		"GET /serverset/{path...}":        func(r *http.Request) any { return pick(s.oldServersets(), r) },
		"GET /admin/watched_metaconfigs":  func(*http.Request) any { return s.watchedNames() },
		"GET /admin/watched_dependencies": func(*http.Request) any { return s.watchedDependencies() },
		"GET /admin/rejected_serversets":  func(*http.Request) any { return s.rejectedServersets() },
		"GET /admin/details":              func(*http.Request) any { return s.oldDetails() },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, http.StatusOK, answer(r)) })
	}
	mux.HandleFunc("GET /admin/ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ping!\n") })
	mux.HandleFunc("GET /admin/healthcheck", func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, s.oldHealth()) })
	mux.HandleFunc("GET /admin/rejected_serversets/healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		status := http.StatusOK
		if len(s.rejectedServersets()) > 0 {
			status = http.StatusInternalServerError
		}
		writeStatus(w, status)
	})
	if s.set.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// metricsRoutes are those of --metrics: what may be shown to another machine, since it names nothing.
func (s *server) metricsRoutes() http.Handler {
	mux := http.NewServeMux()
	s.probeRoutes(mux)
	return mux
}

func (s *server) probeRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready(); err != nil {
			http.Error(w, "no: "+words(err), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "yes\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	data, err := registry.FormatJSON(v) // as Python wrote it: there are probes that look for "status": 200 with grep
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the peer is gone if this fails
}

// isoLocal is datetime.now().isoformat() of Python.
func isoLocal(t time.Time) string { return t.Local().Format("2006-01-02T15:04:05.000000") }

// writeStatus says an HTTP status in the body too, as the Python monitor did; 204 has none.
func writeStatus(w http.ResponseWriter, status int) {
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	writeJSON(w, status, map[string]int{"status": status})
}

// oldConfig and oldServerset are what the Python monitor said of one path. Its version was the data version of the node; ours is
// the order of the change, which grows with every version too.
type (
	oldConfig struct {
		Result       int     `json:"run_command_ret"` // 0: what is published is here
		Version      int64   `json:"version"`
		Processed    float64 `json:"last_processed_timestamp"`
		Notification float64 `json:"notification_timestamp"`
		Modification float64 `json:"modification_timestamp"`
	}
	oldServerset struct {
		Notification float64 `json:"notification_timestamp"`
		Endpoints    int     `json:"num_endpoints"`
		Modification float64 `json:"modification_timestamp"`
		HashSum      int     `json:"hashsum"`
	}
)

func (s *server) oldConfigs() map[string]oldConfig {
	all := map[string]oldConfig{}
	for name, n := range s.followed() {
		e, here := s.store.Current(fileOf(name))
		if name.Kind() != registry.Config || !here {
			continue
		}
		old := oldConfig{Version: int64(e.Order), Processed: unixSeconds(e), Notification: unixSeconds(e), Modification: unixSeconds(e)}
		if n.State != stateCurrent {
			old.Result = 1
		}
		all[string(name.Pointer())] = old
	}
	return all
}

func (s *server) oldServersets() map[string]oldServerset {
	all := map[string]oldServerset{}
	for name := range s.followed() {
		e, here := s.store.Current(fileOf(name))
		if name.Kind() != registry.Serverset || !here {
			continue
		}
		old := oldServerset{Notification: unixSeconds(e), Modification: unixSeconds(e)}
		if body, err := s.readBody(e.Stamp); err == nil {
			lines := strings.Fields(string(body))
			old.Endpoints, old.HashSum = len(lines), hashSum(lines)
		}
		all[string(name.Pointer())] = old
	}
	return all
}

// pick is one member of a table by the path that was asked for, nil if there is none.
func pick[T any](all map[string]T, r *http.Request) any {
	if one, ok := all["/"+strings.TrimPrefix(r.PathValue("path"), "/")]; ok {
		return one
	}
	return nil
}

func unixSeconds(e disk.Entry) float64 {
	return float64(e.Stamp.Time().UnixMicro()) / 1e6
}

// hashSum is the Python monitor's sum of an endpoint list: that of the decimal digits of its MD5, read as one number.
func hashSum(endpoints []string) (sum int) {
	list := slices.Sorted(slices.Values(endpoints))
	digest := md5.Sum([]byte(strings.Join(list, ",")))
	for _, digit := range new(big.Int).SetBytes(digest[:]).String() {
		sum += int(digit - '0')
	}
	return sum
}

func (s *server) watchedNames() []string {
	list := []string{}
	for name := range s.followed() {
		list = append(list, string(name))
	}
	slices.Sort(list)
	return list
}

func (s *server) watchedDependencies() []string {
	list := []string{}
	for _, dir := range s.followedDirs() {
		list = append(list, string(dir.Name))
	}
	slices.Sort(list)
	return list
}

func (s *server) rejectedServersets() []string {
	list := []string{}
	for name, n := range s.followed() {
		if name.Kind() == registry.Serverset && n.State == stateHeld {
			list = append(list, string(name.Pointer()))
		}
	}
	slices.Sort(list)
	return list
}

// oldDetails is /admin/details. The Python monitor changed its tables by being asked for it.
func (s *server) oldDetails() any {
	data := map[string]any{}
	for path, c := range s.oldConfigs() {
		data[path] = c
	}
	for path, set := range s.oldServersets() {
		data[path] = set
	}
	details := struct {
		Start string         `json:"start_time"`
		Check *string        `json:"last_success_periodic_check"` // null: none was yet
		Data  map[string]any `json:"data"`
	}{isoLocal(s.started), nil, data}
	if m, err := s.engine.get(); err == nil {
		if at := m.Stats().Audited; !at.IsZero() {
			last := isoLocal(at)
			details.Check = &last
		}
	}
	return details
}

// oldHealth is 200 while this machine follows what it should, 204 before it is ready, 500 when updates do not arrive and only a
// person can change that: the registry cannot be opened, or another ensemble answers than last time.
func (s *server) oldHealth() int {
	now := s.status()
	switch {
	case now.Frozen, !now.Connected && now.Registry == "embedded" && now.Trouble != "" && !s.engine.opening():
		return http.StatusInternalServerError
	case !now.Ready:
		return http.StatusNoContent
	}
	return http.StatusOK
}
