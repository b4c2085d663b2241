package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

const deciders = "config.manageddata.admin.decider"

// TestFleetWritersOfDifferentDecidersLoseNothing: 8 writers on two machines of a fleet, each with a decider of its own. Every echo that
// succeeds is there when it returns, none undoes another's, and the map has the bytes that the old writer would write.
func TestFleetWritersOfDifferentDecidersLoseNothing(t *testing.T) {
	f := startFleet(t)
	machines := []*Monitor{f.machine(t), f.machine(t)}
	for _, m := range machines { // who creates a file cannot wait until both servers have been heard of
		eventually(t, "it can be written", func() bool { return strings.Contains(kingpin(t, m, "status", "-o", "json"), `"writable": true`) })
	}
	if o := shell(t, machines[0], `echo 5 > decider/early`); !strings.Contains(o.stderr, "Operation not permitted") {
		t.Errorf("the first decider of a fleet: %v", o)
	}
	if reason := read(t, machines[0].Path(".error/decider/early")); !strings.Contains(reason, "to make it: kingpin create "+deciders) {
		t.Errorf("refused: %q", reason)
	}
	kingpin(t, machines[0], "create", deciders)
	for _, m := range machines {
		eventually(t, "both follow the deciders", func() bool { return m.shows("config/"+deciders, "") })
	}
	heard := inotifywait(t, "b has %f", "close_write", machines[1].Path("decider"))
	for _, percent := range []string{"7", "8"} {
		succeed(t, machines[0], `echo `+percent+` > decider/d0`)
		if got := heard.next(t); got != "b has d0" {
			t.Errorf("heard %q", got)
		}
		if got := read(t, machines[1].Path("decider/d0")); got != percent+"\n" {
			t.Errorf("after the event b shows %q", got)
		}
	}
	var writers sync.WaitGroup
	for i := range 8 {
		m, script := machines[i%2], fmt.Sprintf(`cd decider; for p in 10 20 30; do echo $p > d%d && [ "$(cat d%d)" = $p ] || exit 1; done`, i, i)
		writers.Go(func() {
			if o := shell(t, m, script); o.code != 0 {
				t.Errorf("writer %d: %v", i, o)
			}
		})
	}
	writers.Wait()
	var want []string
	for i := range 8 {
		want = append(want, fmt.Sprintf(`"d%d": 30`, i))
	}
	for _, m := range machines {
		eventually(t, "every decider is there", func() bool {
			return m.shows("config/"+deciders, "{"+strings.Join(want, ", ")+"}") && m.shows("decider/d7", "30\n")
		})
	}
	succeed(t, machines[1], `rm decider/d7`)
	eventually(t, "a decider that was removed is gone", func() bool {
		return shell(t, machines[0], `ls decider`).stdout == "d0\nd1\nd2\nd3\nd4\nd5\nd6\n"
	})
}

// TestAPublishLoopIsRefused: the shell says it, since the open fails, and so does kingpin put.
func TestAPublishLoopIsRefused(t *testing.T) {
	needMount(t)
	m := monitor(t, "--demo", "--max-versions-per-minute", "3")
	o := shell(t, m, `cd config; for i in 1 2 3; do echo "{\"turn\": $i}" > config.manageddata.demo.greeting; done`)
	if o.code != 1 || !strings.Contains(o.stderr, "Disk quota exceeded") {
		t.Errorf("the third turn, after the demo: %v", o)
	}
	reason := read(t, m.Path(".error/config/config.manageddata.demo.greeting"))
	for _, words := range []string{"3 versions of config.manageddata.demo.greeting in a minute", "still:   12 bytes", "by bash"} {
		if !strings.Contains(reason, words) {
			t.Errorf("refused: %q, want %q in it", reason, words)
		}
	}
	put := m.Command(t.Context(), "put", "config.manageddata.demo.greeting")
	put.Stdin = strings.NewReader(`{"turn": 4}`)
	if o := result(t, put); o.code != 3 || !strings.Contains(o.stderr, "--max-versions-per-minute") {
		t.Errorf("kingpin put: %v", o)
	}
}
