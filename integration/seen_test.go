package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyDeciders keep the announcer busy for a while when they change at once.
const manyDeciders = 50

// TestTheNextCommandSeesWhatTheLastOneDid types pairs of commands: what the second one shows has been changed by the first. The kernel
// has seen it as it was before, and the monitor is busy telling it of other changes.
func TestTheNextCommandSeesWhatTheLastOneDid(t *testing.T) {
	needMount(t)
	needProgram(t, "getfattr", "sync")
	m := monitor(t, "--demo")
	all := "config.manageddata.admin.decider"
	succeed(t, m, `kingpin dep create o.dep && for n in a b c d; do
		echo '{"is": "there"}' | kingpin create config.manageddata.seen.$n - --dep o.dep || exit; done
		kingpin create discovery.seen.prod && mkdir x.dep y.dep && kingpin dep create z.dep &&
		echo '{"is": "there"}' | kingpin create config.manageddata.seen.z - --dep z.dep`)
	busy := filepath.Join(directory(t), "busy.json")
	for i, pair := range []struct{ do, see, want string }{
		{`echo 41 > decider/gate`, `grep -o '"gate": [0-9]*' config/` + all, `"gate": 41`},
		{`echo 42 > decider/.new; mv decider/.new decider/gate`, `grep -o '"gate": [0-9]*' config/` + all, `"gate": 42`},
		{`kingpin decider set gate 43`, `kingpin cat ` + all + ` | grep -o '"gate": [0-9]*'`, `"gate": 43`},
		{`rm decider/gate`, `grep -c '"gate"' config/` + all, `0`},
		{`sed 's/{/{"gate": 44, /' config/` + all + ` | kingpin put ` + all + ` -`, `cat decider/gate`, `44`},
		{`sed 's/"gate": 44/"gate": 45/' config/` + all + ` > config/.new; mv config/.new config/` + all, `cat decider/gate`, `45`},
		{`sed -i 's/"gate": [0-9]*, //' config/` + all, `cat decider/gate 2>&1`, `cat: decider/gate: No such file or directory`},
		{`kingpin rollback ` + all, `cat decider/gate`, `45`},

		{`ln -s ../config/config.manageddata.seen.a base.dep/`, `cat config/config.manageddata.seen.a`, `{"is": "there"}`},
		{`kingpin dep add base.dep config.manageddata.seen.b`, `kingpin cat config.manageddata.seen.b`, `{"is": "there"}`},
		{`kingpin dep add base.dep config.manageddata.seen.c`, `getfattr --only-values -n user.kingpin.dependencies config/config.manageddata.seen.c`, `base.dep`},
		{`kingpin dep add base.dep o.dep`, `cat o.dep/config.manageddata.seen.d`, `{"is": "there"}`},
		{`ln -s ../z.dep base.dep/`, `cat z.dep/config.manageddata.seen.z`, `{"is": "there"}`},
		{`kingpin dep rm -y base.dep z.dep`, `ls -d z.dep base.dep/z.dep 2>&1 | wc -l; cat base.dep/z.dep/* 2>/dev/null`, `2`},
		{`kingpin dep delete y.dep`, `ls -d y.dep 2>&1`, `ls: cannot access 'y.dep': No such file or directory`},
		{`ln -s ../config/config.manageddata.seen.a x.dep/; rmdir x.dep 2>/dev/null; rm x.dep/config.manageddata.seen.a; rmdir x.dep`, `ls .error/dep`, ``},

		{`echo '{"made": "by hand"}' > config/config.manageddata.seen.new`, `kingpin status config.manageddata.seen.new -o json | grep -o current`, `current`},
		{`kingpin dep rm -y base.dep config.manageddata.seen.new && kingpin rm -y config.manageddata.seen.new`, `cat config/config.manageddata.seen.new 2>&1`, `cat: config/config.manageddata.seen.new: No such file or directory`},
		{`echo '{"made": "again"}' | kingpin create config.manageddata.seen.new -`, `cat base.dep/config.manageddata.seen.new`, `{"made": "again"}`},

		{`exec 9> .register/discovery.seen.prod/127.0.0.1:9090; sync .register/discovery.seen.prod/*`, `cat serverset/discovery.seen.prod`, `127.0.0.1:9090`},
		{`exec 9> .register/discovery.seen.prod/127.0.0.1:9091; echo '{"weight": 7}' >&9; sync .register/discovery.seen.prod/127.0.0.1:9091`, `grep -o '"weight": 7' .members/discovery.seen.prod`, `"weight": 7`},
	} {
		var deciders []string
		for d := range manyDeciders {
			deciders = append(deciders, fmt.Sprintf(`"busy%d": %d`, d, i))
		}
		gate := `"gate": 40, `
		if i > 3 {
			gate = ""
		}
		if err := os.WriteFile(busy, []byte("{"+gate+strings.Join(deciders, ", ")+"}"), 0o644); err != nil {
			t.Fatal(err)
		}
		if i < 5 || i > 7 {
			succeed(t, m, "kingpin put "+all+" "+busy)
		}
		if got := strings.TrimSpace(succeed(t, m, "("+pair.see+") > /dev/null 2>&1; ("+pair.do+") > /dev/null || exit; "+pair.see+"; true")); got != pair.want {
			t.Errorf("$ %s ; %s\nshows %q, want %q", pair.do, pair.see, got, pair.want)
		}
	}
}
