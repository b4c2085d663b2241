package integration

import (
	"strings"
	"testing"
)

// TestStrangerIsToldWhoMay: who is not in the publish group reads, and is told who may do the rest, before he has written a page in his
// editor for nothing.
func TestStrangerIsToldWhoMay(t *testing.T) {
	needMount(t)
	const f = "config.manageddata.demo.greeting"
	m := monitor(t, "--demo", "--publish-group", "4711")
	kingpin(t, m, "create", "discovery.user.dev")
	run := func(args string) outcome {
		return as(t, 10002, nil, "KINGPIN_MOUNT="+m.Mount+" EDITOR=false "+kingpinBinary(t)+" "+args)
	}
	for _, args := range []string{"cat " + f, "stat " + f, "ls -l", "dep tree", "status", "doctor", "members discovery.user.dev"} {
		if out := run(args); out.code != 0 {
			t.Errorf("%s: %v", args, out)
		}
	}
	for _, args := range []string{
		"put " + f + " /dev/null", "edit " + f, "decider set new_ranker 5", "create config.a.b", "dep create web.dep", "ls --all",
		"register -s user -e dev -p 80",
	} {
		if out := run(args); out.code != 7 || !strings.Contains(out.stderr, "root and group 4711 may") {
			t.Errorf("%s: %v", args, out)
		}
	}
}
