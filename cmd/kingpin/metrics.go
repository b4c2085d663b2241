package main

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// metrics is what Prometheus is told. No label has names for values, which would make a series a name on every machine, but for
// kingpin_stale_seconds: its series exist only while a name is stale, and at most maxStale of them.
type metrics struct {
	registry    *prometheus.Registry
	server      *server
	fuse        [len(fuseOps)]prometheus.Observer // by opcode; nil: other
	fuseOther   prometheus.Observer
	s3          *prometheus.HistogramVec
	propagation *prometheus.HistogramVec
}

// maxStale is how many stale names are told by name.
const maxStale = 20

// fuseOps names the requests of the kernel by their opcodes, from linux/fuse.h. What is left out here counts as other.
var fuseOps = [...]string{
	1: "lookup", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename",
	14: "open", 15: "read", 16: "write", 18: "release", 20: "fsync", 21: "setxattr", 22: "getxattr", 25: "flush", 27: "opendir",
	28: "readdir", 35: "create", 44: "readdirplus", 45: "rename",
}

// described says a metric in the words of its help.
func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kingpin_"+name, help, labels, nil)
}

var (
	descReady         = described("ready", "1 if everything this machine follows is served as it was last known, as /readyz.")
	descBuild         = described("build_info", "1, with the version that runs.", "version", "go")
	descNames         = described("names", "Names followed here.", "kind")
	descStale         = described("stale_names", "Names of which another version is published than is here.", "kind")
	descStaleMax      = described("stale_seconds_max", "How long that has been so for the name that is behind longest.")
	descStaleSeconds  = described("stale_seconds", "The same of single names, the longest behind, while they are.", "name")
	descHeld          = described("held", "Names whose last good version is kept because what is published is not believed.", "reason")
	descRegistrations = described("registrations", "Endpoints that programs of this machine hold in serversets.", "state")
	descConnected     = described("zookeeper_connected", "1 while this machine has a session with the ensemble.")
	descReconnects    = described("zookeeper_reconnects_total", "Connections to the ensemble that were lost.", "reason")
	descPublishes     = described("publishes_total", "What publishes from this machine came to.", "result")
	descRestarts      = described("server_restarts_total", "Servers that the keeper replaced, since it started.", "cause")
)

func newMetrics(s *server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		server:   s,
		s3: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kingpin_s3_request_seconds", Help: "Requests to S3, each attempt by itself; code 0: no answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"op", "code"}),
		propagation: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kingpin_propagation_seconds", Help: "From the publication of a version, by its publisher's clock, to its event here.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"kind"}),
	}
	fuse := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kingpin_fuse_request_seconds", Help: "Requests of the kernel to the mount; a flush or fsync publishes.",
		Buckets: prometheus.ExponentialBuckets(0.00001, 4, 11),
	}, []string{"op"})
	for opcode, op := range fuseOps {
		if op != "" {
			m.fuse[opcode] = fuse.WithLabelValues(op)
		}
	}
	m.fuseOther = fuse.WithLabelValues("other")
	m.registry.MustRegister(m, fuse, m.s3, m.propagation,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observeFUSE and observeS3 are the hooks of the mount and of the bucket.
func (m *metrics) observeFUSE(opcode uint32, took time.Duration) {
	o := m.fuseOther
	if int(opcode) < len(m.fuse) && m.fuse[opcode] != nil {
		o = m.fuse[opcode]
	}
	o.Observe(took.Seconds())
}

func (m *metrics) observeS3(op string, status int, took time.Duration) {
	m.s3.WithLabelValues(op, strconv.Itoa(status)).Observe(took.Seconds())
}

// announced is told of every version whose events were raised. One that was published before this server began, as on a first boot,
// did not take that long to come.
func (m *metrics) announced(e disk.Entry) {
	if e.Published.Before(m.server.started) {
		return
	}
	m.propagation.WithLabelValues(e.Kind.String()).Observe(max(0, time.Since(e.Published).Seconds()))
}

// Describe says nothing: what Collect tells depends on the registry of this machine.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect tells the present state.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	out := series{ch}
	out.gauge(descReady, truth(m.server.ready() == nil))
	out.gauge(descBuild, 1, version, runtime.Version())
	if mount := m.server.mount; mount != nil {
		for cause, n := range map[string]int{
			"crash": mount.Causes.Crash, "oom": mount.Causes.OOM, "hang": mount.Causes.Hang, "upgrade": mount.Causes.Upgrade,
		} {
			out.counter(descRestarts, int64(n), cause)
		}
	}
	frozen := false
	if b, _ := m.server.engine.behind(); b.ensemble != nil {
		z := b.ensemble.Stats()
		frozen = z.Frozen
		out.gauge(descConnected, truth(z.Connected))
		for reason, n := range z.Reconnects {
			out.counter(descReconnects, n, reason)
		}
	}
	conductor, err := m.server.engine.get()
	if err != nil {
		return // how many names there are is not known
	}
	stats := conductor.Stats()
	if frozen {
		stats.HeldBy[mirror.WentBack]++
	}
	out.names(stats)
	for _, n := range conductor.Behind(maxStale) {
		out.gauge(descStaleSeconds, time.Since(n.Behind).Seconds(), string(n.Name))
	}
	registrations := map[mirror.RegistrationState]int{}
	for _, r := range conductor.Registrations() {
		registrations[r.State]++
	}
	for _, state := range []mirror.RegistrationState{mirror.Unregistered, mirror.Registered, mirror.Refused} {
		out.gauge(descRegistrations, float64(registrations[state]), string(state))
	}
}

// series are on their way to Prometheus.
type series struct{ ch chan<- prometheus.Metric }

func (s series) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s series) counter(d *prometheus.Desc, value int64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// names tells how those are that are followed here, and what publications came to.
func (s series) names(stats mirror.Stats) {
	for result, n := range results(stats.Publications) {
		s.counter(descPublishes, n, result)
	}
	for kind, n := range map[registry.Kind]int{
		registry.Config: stats.Configs, registry.Serverset: stats.Serversets, registry.Decider: stats.Deciders,
	} {
		s.gauge(descNames, float64(n), kind.String())
	}
	s.gauge(descStale, float64(stats.BehindConfigs), registry.Config.String())
	s.gauge(descStale, float64(stats.BehindServersets), registry.Serverset.String())
	s.gauge(descStaleMax, stats.Behind.Seconds())
	for _, reason := range []mirror.HoldReason{
		mirror.Empty, mirror.Shrunk, mirror.Deleted, mirror.Anew, mirror.Checksum, mirror.TooLarge, mirror.WentBack,
	} {
		s.gauge(descHeld, float64(stats.HeldBy[reason]), string(reason))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// results names what publications came to as the labels of kingpin_publishes_total do.
func results(p mirror.Publications) map[string]int64 {
	return map[string]int64{
		"ok": p.OK, "same": p.Same, "conflict": p.Conflict, "invalid": p.Invalid, "denied": p.Denied, "quota": p.Quota,
		"unreachable": p.Unreachable, "timeout": p.Timeout, "unknown": p.Unknown, "undelivered": p.Undelivered,
	}
}
