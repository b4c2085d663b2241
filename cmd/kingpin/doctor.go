package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// How grave what a check found is.
const (
	fine  = "ok"
	doubt = "warning" // it works, and there is something that somebody should know
	ill   = "wrong"   // something does not work, or will not on the worst day
)

// finding is a member of what kingpin doctor prints.
type finding struct {
	Check   string `json:"check"` // kernel, mount, monitor, registry, s3, names, clock, permissions or disk
	State   string `json:"state"` // ok, warning or wrong
	Message string `json:"message"`
	Do      string `json:"do"` // what to do about it; empty if that is nothing
}

// examination is what the checks look at, and what they found.
type examination struct {
	tree     *tree // nil: there is none, and trouble says why
	trouble  error
	mount    string // where it is, or should be
	state    string
	now      monitorStatus // as the monitor says after it has asked registry and bucket; empty without a monitor
	asked    error         // why it did not
	names    []nameStatus
	findings []finding
}

func (x *examination) found(check, state, do, format string, args ...any) {
	x.findings = append(x.findings, finding{check, state, fmt.Sprintf(format, args...), do})
}

func runDoctor(ctx context.Context, inv *invocation) error {
	x := inv.examine(ctx)
	x.look()
	var names []string
	worst := error(nil)
	for _, f := range x.findings {
		if f.State != fine {
			names = append(names, f.Check)
		}
		if f.State == ill {
			worst = exitStatus(exitFailed)
		}
	}
	if err := inv.emit(output{json: x.findings, names: names, table: x.print}); err != nil {
		return err
	}
	return worst
}

// look checks all there is.
func (x *examination) look() {
	for _, check := range []func(*examination){
		(*examination).kernel, (*examination).mounted, (*examination).monitor, (*examination).registry, (*examination).s3,
		(*examination).followed, (*examination).clock, (*examination).permissions, (*examination).disk,
	} {
		check(x)
	}
}

// examine asks the monitor everything once.
func (inv *invocation) examine(ctx context.Context) *examination {
	a := inv.asked()
	x := &examination{mount: a.mount, state: a.state}
	if x.tree, x.trouble = inv.openTree(ctx); x.trouble != nil || x.tree.monitor == nil {
		inv.askNeighbours(ctx, x)
		return x
	}
	x.now = *x.tree.monitor
	x.mount, x.state = x.now.Mount, x.now.State
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	if x.asked = x.tree.control.call(ctx, "GET", "/v1/reach", nil, &x.now); x.asked == nil {
		x.asked = x.tree.control.call(ctx, "GET", "/v1/names", nil, &x.names)
	}
	return x
}

// askNeighbours asks registry and bucket where there is no monitor that could: why it is not there may be that they are not.
func (inv *invocation) askNeighbours(ctx context.Context, x *examination) {
	effective, err := inv.resolveFor()
	if err != nil {
		x.found("registry", ill, "kingpin monitor --check-config says more", "the settings are wrong: %s", words(err))
		return
	}
	if fleet, _ := effective.fleet(); fleet == nil {
		return // an embedded registry belongs to its monitor
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	s, err := inv.directServer(ctx)
	var now monitorStatus
	if err == nil {
		c := inv.directTree(s).control
		_ = c.call(ctx, "GET", "/v1/dependencies", nil, nil) // waits for the session; what came of it is in the status
		err = c.call(ctx, "GET", "/v1/reach", nil, &now)
	}
	if err != nil {
		x.found("registry", ill, "kingpin monitor --check-config says more", "%s", words(err))
		return
	}
	x.now = monitorStatus{
		Registry: now.Registry, Source: now.Source, Connected: now.Connected, Since: now.Since, Server: now.Server, Trouble: now.Trouble,
		Writable: now.Writable, WriteError: now.WriteError, S3: now.S3,
	}
	if !now.Connected {
		x.now.S3 = s3Status{} // it was not asked
	}
}

func (x *examination) print(w io.Writer) {
	var rows [][]string
	for _, f := range x.findings {
		rows = append(rows, []string{f.Check, f.State, f.Message})
		if f.Do != "" {
			rows = append(rows, []string{"", "", "  " + f.Do})
		}
	}
	columns(w, []string{"CHECK", "STATE", ""}, rows)
}

// monitor says whether one answers, and is ready.
func (x *examination) monitor() {
	now := x.now
	switch {
	case x.trouble != nil:
		do := "systemctl start kingpin, or kingpin monitor"
		if h, ok := errors.AsType[hinted](x.trouble); ok && len(h.hints) > 0 {
			do = h.hints[0]
		}
		x.found("monitor", ill, do, "%s", words(x.trouble))
	case x.tree.monitor == nil:
		x.found("monitor", ill, "systemctl start kingpin, or kingpin monitor", "none serves %s; the files there are as it left them", x.tree.root)
	case errors.Is(x.asked, registry.ErrPermission):
		x.found("monitor", doubt, "ask as root, or as a member of its publish group", "pid %d serves; what else it knows it does not tell you", now.PID)
	case x.asked != nil:
		x.found("monitor", ill, "look at its log: journalctl -u kingpin", "pid %d does not answer at %s: %s", now.PID, now.Control, words(x.asked))
	case !now.Ready:
		x.found("monitor", ill, "kingpin status says which names are missing", "pid %d is not ready: %s", now.PID, now.Reason)
	default:
		x.found("monitor", fine, "", "pid %d, version %s, up %s, ready", now.PID, now.Version, brief(time.Duration(now.Uptime*float64(time.Second))))
	}
	if x.tree == nil || x.tree.monitor == nil {
		return
	}
	if now.Version != version {
		x.found("monitor", doubt, "kingpin upgrade", "runs version %s, and this command is %s", now.Version, version)
	}
	if now.Restarts > 0 {
		x.found("monitor", doubt, "look at its log: journalctl -u kingpin", "its server died %s; the last time: %s", times(now.Restarts), now.LastDeath)
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// registry says whether updates come from it, and whether it would take a write.
func (x *examination) registry() {
	now := x.now
	if x.asked != nil || now.Registry == "" {
		return // there is nobody to ask
	}
	where := now.Registry + " " + now.Source
	switch {
	case now.Frozen:
		x.found("registry", ill, "look what it has: kingpin ls --direct; if that is right: kingpin accept --ensemble",
			"%s: updates are not applied: %s", where, now.Trouble)
	case !now.Connected:
		do := "is ZooKeeper up, and reachable from here? reads go on meanwhile"
		if now.Registry == "embedded" {
			do = "move " + filepath.Join(now.State, registryFile) + " away and restore it from a backup; reads go on meanwhile"
		}
		x.found("registry", ill, do, "%s is away for %s: %s", where, brief(time.Since(now.Since)), now.Trouble)
	case !now.Writable && now.WriteError != "":
		x.found("registry", ill, "reads go on; writes are refused until that is over", "%s: not writable: %s", where, now.WriteError)
	case now.Server != "":
		x.found("registry", fine, "", "%s, connected to %s for %s", where, now.Server, brief(time.Since(now.Since)))
	default:
		x.found("registry", fine, "", "%s", where)
	}
}

// s3 says whether bodies can be fetched and published.
func (x *examination) s3() {
	s := x.now.S3
	if x.asked != nil || s.Bucket == "" {
		return
	}
	where := "bucket " + s.Bucket
	if s.Endpoint != "" {
		where += " at " + s.Endpoint
	}
	if !s.Reachable {
		x.found("s3", ill, "is the endpoint right, and do the credentials hold? reads go on meanwhile", "%s is away for %s: %s",
			where, brief(time.Since(s.Since)), s.Trouble)
		return
	}
	x.found("s3", fine, "", "%s answers", where)
}

// followed says which names are not as they should be.
func (x *examination) followed() {
	if x.asked != nil || x.now.Registry == "" || x.tree == nil || x.tree.monitor == nil {
		return
	}
	wrong := map[string][]string{}
	for _, n := range x.names {
		if n.State != stateCurrent {
			wrong[n.State] = append(wrong[n.State], n.Name)
		}
	}
	for _, d := range x.now.Deleted {
		x.found("names", ill, "to make it again as it was: kingpin dep create "+d, "%s was deleted from the registry, its members stay here", d)
	}
	if len(wrong)+len(x.now.Deleted) == 0 {
		x.found("names", fine, "", "%s, all as they are published", count(len(x.names), "name"))
	}
	for _, state := range []struct{ name, do string }{
		{stateHeld, "kingpin status says why; if the new state is right: kingpin accept NAME"},
		{stateStale, "kingpin status says why; it is tried again by itself"},
		{statePending, "kingpin status says why; it is tried again by itself"},
		{stateMissing, "make it: kingpin create NAME; or leave it: kingpin dep rm DEP NAME"},
		{stateUnknown, "the registry has to answer first"},
	} {
		if names := wrong[state.name]; len(names) > 0 {
			x.found("names", ill, state.do, "%s %s: %s", count(len(names), "name"), state.name, some(names, 3))
		}
	}
}

// clock says whether this machine's time can be relied on: versions are made of it.
func (x *examination) clock() {
	const (
		noticed = 3 * time.Second // the date of an answer has no fractions
		refused = 5 * time.Minute // S3 refuses signatures from a quarter of an hour on
	)
	before := len(x.findings)
	if err := synchronised(); err != nil {
		x.found("clock", doubt, "start a time service: systemctl start systemd-timesyncd, or chrony", "%v", err)
	}
	if skew := time.Duration(x.now.S3.Skew * float64(time.Second)); skew.Abs() > noticed {
		state := doubt
		if skew.Abs() > refused {
			state = ill
		}
		x.found("clock", state, "set it: versions are moments, and S3 refuses who is far off", "%s of the bucket", offset(skew))
	}
	for _, n := range x.names {
		if ahead := time.Until(n.Published); ahead > noticed {
			x.found("clock", doubt, "look at the clock of "+n.Author+"'s machine, and at this one's",
				"%s was published %s in the future", n.Name, brief(ahead))
			break
		}
	}
	if len(x.findings) == before {
		x.found("clock", fine, "", "synchronised")
	}
}

func offset(skew time.Duration) string {
	if skew > 0 {
		return "this machine is " + brief(skew) + " behind the clock"
	}
	return "this machine is " + brief(-skew) + " ahead of the clock"
}

// getReach answers as getMonitor, after registry and bucket were asked.
func (s *server) getReach() (any, error) {
	_ = s.engine.reach() // what came of it is in the status
	return s.status(), nil
}
