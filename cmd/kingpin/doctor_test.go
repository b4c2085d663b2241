package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Each of a machine's troubles is found by the check that an operator would look under, and with something to do about it.
func TestDoctorFindsTroubles(t *testing.T) {
	served := &tree{served: true, monitor: &monitorStatus{}}
	well := monitorStatus{Version: version, PID: 7, Ready: true, Writable: true, Registry: "zookeeper", Source: "zk1:2181", Connected: true,
		Server: "10.0.0.1:2181", Since: time.Now(), S3: s3Status{Bucket: "configs", Reachable: true}}
	with := func(change func(*monitorStatus)) *examination {
		now := well
		change(&now)
		return &examination{tree: served, now: now, names: []nameStatus{{Name: "config.a.b", State: stateCurrent}}}
	}
	for _, trouble := range []struct {
		name  string
		x     *examination
		check func(*examination)
		want  string // STATE CHECK: some words
	}{
		{"none", with(func(*monitorStatus) {}), (*examination).monitor, "ok monitor: ready"},
		{"no monitor", &examination{trouble: errors.New("no monitor serves /var/kingpin")}, (*examination).monitor, "wrong monitor: no monitor serves"},
		{"monitor hangs", &examination{tree: served, asked: registry.ErrTimeout}, (*examination).monitor, "wrong monitor: does not answer"},
		{"not ready", with(func(s *monitorStatus) { s.Ready, s.Reason = false, "config.a.b is not here" }), (*examination).monitor, "wrong monitor: config.a.b is not here"},
		{"other version", with(func(s *monitorStatus) { s.Version = "0.0.1" }), (*examination).monitor, "warning monitor: 0.0.1"},
		{"crashes", with(func(s *monitorStatus) { s.Restarts, s.LastDeath = 3, "signal: killed" }), (*examination).monitor, "warning monitor: died 3 times"},
		{"ensemble away", with(func(s *monitorStatus) { s.Connected = false }), (*examination).registry, "wrong registry: is away"},
		{"ensemble frozen", with(func(s *monitorStatus) { s.Frozen = true }), (*examination).registry, "wrong registry: not applied"},
		{"registry read only", with(func(s *monitorStatus) { s.Writable, s.WriteError = false, "S3 is away" }), (*examination).registry, "wrong registry: not writable"},
		{"bucket away", with(func(s *monitorStatus) { s.S3.Reachable, s.S3.Trouble = false, "access denied" }), (*examination).s3, "wrong s3: access denied"},
		{"clock a little off", with(func(s *monitorStatus) { s.S3.Skew = 30 }), (*examination).clock, "warning clock: 30s behind"},
		{"clock far off", with(func(s *monitorStatus) { s.S3.Skew = -900 }), (*examination).clock, "wrong clock: 15m ahead"},
		{"name held", &examination{tree: served, now: well, names: []nameStatus{{Name: "discovery.a.b", State: stateHeld}}}, (*examination).followed, "wrong names: discovery.a.b"},
		{"name stale", &examination{tree: served, now: well, names: []nameStatus{{Name: "config.a.b", State: stateStale}}}, (*examination).followed, "wrong names: 1 name stale"},
		{"version of tomorrow", &examination{tree: served, now: well, names: []nameStatus{{Name: "config.a.b", State: stateCurrent, Published: time.Now().Add(time.Hour)}}},
			(*examination).clock, "warning clock: config.a.b was published"},
		{"mount hangs", &examination{mount: "/var/kingpin", trouble: registry.ErrTimeout}, (*examination).mounted, "wrong mount: hangs"},
		{"nothing mounted", &examination{mount: t.TempDir()}, (*examination).mounted, "wrong mount: is not mounted"},
		{"state open to all", &examination{tree: served, state: openToAll(t)}, (*examination).permissions, "wrong permissions: may be written by others"},
	} {
		trouble.check(trouble.x)
		found := false
		for _, f := range trouble.x.findings {
			head, words, _ := strings.Cut(trouble.want, ": ")
			found = found || head == f.State+" "+f.Check && strings.Contains(f.Message, words)
			if f.State == ill && f.Do == "" {
				t.Errorf("%s: %q, and nothing to do about it", trouble.name, f.Message)
			}
		}
		if !found {
			t.Errorf("%s: found %+v, want %s", trouble.name, trouble.x.findings, trouble.want)
		}
	}
}

func openToAll(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
