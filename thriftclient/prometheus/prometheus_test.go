package prometheus_test

import (
	"context"
	"testing"
	"time"

	registry "github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
	"github.com/kingpinfs/kingpin/thriftclient/prometheus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatPrometheusSees(t *testing.T) {
	s, err := storm.Serve(storm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	metrics := prometheus.New("storm")
	reg := registry.NewPedanticRegistry()
	reg.MustRegister(metrics)
	p, err := thriftclient.OpenSource(thriftclient.Static(s.Addr()), thriftclient.Options{
		Metrics: metrics, Warm: -1, Timeout: time.Minute, ConnectTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	metrics.Watch(p)
	ctx := context.Background()
	client := stormservice.NewStormClient(p)
	for id := range int64(3) {
		if _, err := client.Echo(ctx, id, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Fail(ctx, 1); err == nil {
		t.Fatal("fail does not fail")
	}
	p.Close(ctx)
	if _, err := client.Echo(ctx, 1, 0, nil); err == nil {
		t.Fatal("a closed pool answers")
	}
	const used = "kingpin_thrift_connections service=storm state=used"
	got := gather(t, reg)
	for deadline := time.Now().Add(30 * time.Second); got[used] != 0 && time.Now().Before(deadline); got = gather(t, reg) {
		<-time.After(5 * time.Millisecond) // a connection that failed is closed beside the call
	}
	for series, want := range map[string]float64{
		"kingpin_thrift_calls_total method=echo result=ok service=storm":        3,
		"kingpin_thrift_calls_total method=echo result=unsent service=storm":    1,
		"kingpin_thrift_calls_total method=fail result=exception service=storm": 1,
		"kingpin_thrift_call_seconds method=echo service=storm":                 4,
		"kingpin_thrift_attempts_total result=ok service=storm":                 3,
		"kingpin_thrift_attempts_total result=exception service=storm":          1,
		"kingpin_thrift_dials_total result=ok service=storm":                    1,
		"kingpin_thrift_hosts service=storm state=in":                           1,
		"kingpin_thrift_calls_in_flight service=storm":                          0,
		used: 0,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", series, v, ok, want)
		}
	}
}

// gather is every series and its value; of a histogram, how often it was observed.
func gather(t *testing.T, reg *registry.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			series := family.GetName()
			for _, l := range m.GetLabel() {
				series += " " + l.GetName() + "=" + l.GetValue()
			}
			values[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
