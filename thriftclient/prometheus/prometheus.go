// Package prometheus shows a thriftclient.Pool to Prometheus.
//
//	metrics := prometheus.New("user")
//	pool, err := thriftclient.Open("discovery.user.prod", thriftclient.Options{Metrics: metrics})
//	metrics.Watch(pool)             // the gauges are those of its hosts
//	registry.MustRegister(metrics)  // any prometheus.Registerer
//
// No series has the name of a host: there may be thousands, and they come and go. Pool.Hosts() has them.
package prometheus

import (
	"errors"
	"sync/atomic"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kingpinfs/kingpin/thriftclient"
)

// Metrics counts what a pool does. It is a thriftclient.Metrics, and a prometheus.Collector.
type Metrics struct {
	pool atomic.Pointer[thriftclient.Pool]

	calls      *prometheus.CounterVec   // by method and result
	seconds    *prometheus.HistogramVec // by method
	attempts   *prometheus.CounterVec   // by result
	additional *prometheus.CounterVec   // by reason
	dials      *prometheus.CounterVec   // by result
	ejections  *prometheus.CounterVec   // by what
	hosts      *prometheus.Desc         // by state
	inFlight   *prometheus.Desc
	open       *prometheus.Desc // by state
}

var (
	_ thriftclient.Metrics = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

// New makes metrics whose label service says of which.
func New(service string) *Metrics {
	labels := prometheus.Labels{"service": service}
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kingpin_thrift_" + name, Help: help, ConstLabels: labels}, by)
	}
	gauge := func(name, help string, by ...string) *prometheus.Desc {
		return prometheus.NewDesc("kingpin_thrift_"+name, help, by, labels)
	}
	return &Metrics{
		calls: counter("calls_total", "Calls of the application. result: ok, exception (the server's), unsent, failed (it may have been executed).", "method", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kingpin_thrift_call_seconds", Help: "How long calls took, with all their attempts.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // to 8 s
		}, []string{"method"}),
		attempts:   counter("attempts_total", "Attempts on one host. result: ok, exception, failed.", "result"),
		additional: counter("additional_attempts_total", "Attempts that were made, or not made, after the first. reason: retry, hedge, exhausted (the budget was).", "reason"),
		dials:      counter("dials_total", "Connections that were made, or not. result: ok, failed.", "result"),
		ejections:  counter("ejections_total", "Hosts that were left alone, and that came back. event: ejected, readmitted.", "event"),
		hosts:      gauge("hosts", "Hosts. state: in, new, suspect, ejected, due, probing.", "state"),
		inFlight:   gauge("calls_in_flight", "Calls that wait for an answer, or for a connection."),
		open:       gauge("connections", "Connections. state: idle, used.", "state"),
	}
}

// Watch takes the gauges from the pool.
func (m *Metrics) Watch(p *thriftclient.Pool) { m.pool.Store(p) }

// Observe counts an event.
func (m *Metrics) Observe(e thriftclient.Event) {
	switch e.Kind {
	case thriftclient.Called:
		m.calls.WithLabelValues(e.Method, result(e.Err)).Inc()
		m.seconds.WithLabelValues(e.Method).Observe(e.Took.Seconds())
	case thriftclient.Attempted:
		r := result(e.Err)
		if r == "unsent" {
			r = "failed"
		}
		m.attempts.WithLabelValues(r).Inc()
	case thriftclient.Retried:
		m.additional.WithLabelValues("retry").Inc()
	case thriftclient.Hedged:
		m.additional.WithLabelValues("hedge").Inc()
	case thriftclient.Exhausted:
		m.additional.WithLabelValues("exhausted").Inc()
	case thriftclient.Dialled:
		m.dials.WithLabelValues(result(e.Err)).Inc()
	case thriftclient.Ejected, thriftclient.Readmitted:
		m.ejections.WithLabelValues(e.Kind.String()).Inc()
	}
}

func result(err error) string {
	var exception thrift.TApplicationException
	var call *thriftclient.CallError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &exception):
		return "exception"
	case errors.As(err, &call) && !call.Sent:
		return "unsent"
	}
	return "failed"
}

func (m *Metrics) counters() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.seconds, m.attempts, m.additional, m.dials, m.ejections}
}

// Describe is for the registry.
func (m *Metrics) Describe(c chan<- *prometheus.Desc) {
	for _, counter := range m.counters() {
		counter.Describe(c)
	}
	c <- m.hosts
	c <- m.inFlight
	c <- m.open
}

// Collect is for the registry.
func (m *Metrics) Collect(c chan<- prometheus.Metric) {
	for _, counter := range m.counters() {
		counter.Collect(c)
	}
	p := m.pool.Load()
	if p == nil {
		return
	}
	states := map[string]float64{"in": 0, "new": 0, "suspect": 0, "ejected": 0, "due": 0, "probing": 0}
	var inFlight, idle, used float64
	for _, h := range p.Hosts() {
		states[h.State]++
		inFlight += float64(h.InFlight)
		idle += float64(h.Idle)
		used += float64(h.Connections - h.Idle)
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for state, n := range states {
		gauge(m.hosts, n, state)
	}
	gauge(m.inFlight, inFlight)
	gauge(m.open, idle, "idle")
	gauge(m.open, used, "used")
}
