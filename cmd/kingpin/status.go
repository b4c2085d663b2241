package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// machineStatus is what kingpin status prints: the monitor's word, and every name that is not current.
type machineStatus struct {
	monitorStatus
	Problems []nameStatus `json:"problems"`
}

func runStatus(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	if len(inv.words) > 0 {
		return t.statusOf(ctx, inv, inv.word(0))
	}
	if t.monitor == nil {
		return hint(fmt.Errorf("no monitor serves %s; the files there are as it left them: %w", t.root, registry.ErrUnreachable),
			"start it: kingpin monitor")
	}
	all, err := t.followed(ctx, inv)
	if err != nil {
		return err
	}
	s := machineStatus{*t.monitor, slices.DeleteFunc(all, func(n nameStatus) bool { return n.State == stateCurrent })}
	if s.Problems == nil {
		s.Problems = []nameStatus{}
	}
	names := make([]string, 0, len(s.Problems))
	for _, n := range s.Problems {
		names = append(names, n.Name)
	}
	if err := inv.emit(output{json: s, names: names, table: s.print}); err != nil {
		return err
	}
	if !s.Ready {
		return exitStatus(exitFailed)
	}
	return nil
}

// statusOf tells the state of one name; it is no success unless that is current.
func (t *tree) statusOf(ctx context.Context, inv *invocation, word string) error {
	all, err := t.followed(ctx, inv)
	if err != nil {
		return err
	}
	g, err := t.target(word)
	i := slices.IndexFunc(all, func(n nameStatus) bool { return err == nil && n.Name == g.String() })
	var n nameStatus
	if i >= 0 {
		n = all[i] // also when its file has not arrived: that is what one asks about
	} else {
		if g, err = t.named(ctx, inv, word); err != nil {
			return err
		}
		if n, err = t.stat(ctx, inv, g); err != nil {
			return err
		}
	}
	if err := inv.emit(output{json: n, names: []string{n.Name}, table: func(w io.Writer) {
		columns(w, []string{"NAME", "STATE", "AGE", "REASON"}, [][]string{{n.Name, n.State, n.age(), n.Reason + n.remedy()}})
	}}); err != nil {
		return err
	}
	if n.State != stateCurrent {
		return exitStatus(exitFailed)
	}
	return nil
}

// maxProblems is how many names that are not current are shown of each state.
const maxProblems = 10

func (s machineStatus) print(w io.Writer) {
	ready := "yes: "
	if !s.Ready {
		ready = "no: " + s.Reason + "; "
	}
	ready += fmt.Sprintf("%s, %d stale, %d held", count(s.Names, "name"), s.Stale, s.Held)
	if s.Pending > 0 {
		ready += fmt.Sprintf(", %d pending", s.Pending)
	}
	if s.Missing > 0 {
		ready += fmt.Sprintf(", %d missing", s.Missing)
	}
	pairs := []string{"ready", ready}
	for _, state := range []string{stateHeld, stateStale, statePending, stateMissing, stateUnknown} {
		shown := 0
		for _, n := range s.Problems {
			if n.State != state {
				continue
			}
			if shown++; shown > maxProblems {
				pairs = append(pairs, state, "...")
				break
			}
			pairs = append(pairs, state, n.Name+"  "+n.Reason+n.remedy())
		}
	}
	for _, d := range s.Deleted {
		pairs = append(pairs, stateHeld, d+"  it was deleted from the registry, its members stay; kingpin dep create "+d)
	}
	server := fmt.Sprintf("server pid %d, up %s, %s", s.PID, brief(time.Duration(s.Uptime*float64(time.Second))), count(s.Restarts, "restart"))
	if s.Mount != "" {
		pairs = append(pairs, "mount", s.Mount+" "+s.access()+"; "+server)
	} else {
		pairs = append(pairs, "files", s.Files+" read only, no mount; "+server)
	}
	if s.Registered+s.Unregistered > 0 {
		held := count(s.Registered, "endpoint")
		if s.Unregistered > 0 {
			held += fmt.Sprintf(", %d not yet; why: .status/registrations.json", s.Unregistered)
		}
		pairs = append(pairs, "registers", held)
	}
	pairs = append(pairs, "registry", s.registryLine(), "s3", s.s3Line(), "admin", s.adminLine())
	if s.Frozen {
		pairs = append(pairs, "frozen", s.Trouble+"; if that is right: kingpin accept --ensemble")
	}
	facts(w, pairs...)
}

// remedy is what to type about a serverset that is held.
func (n nameStatus) remedy() string {
	switch {
	case n.State != stateHeld || n.Kind != registry.Serverset.String():
		return ""
	case n.Cause == string(mirror.Deleted):
		return "; kingpin create " + n.Name + ", or kingpin accept " + n.Name
	}
	return "; kingpin accept " + n.Name
}

func (s machineStatus) access() string {
	switch {
	case s.ReadOnly:
		return "read only"
	case s.PublishGroup == "":
		return "read-write for root"
	}
	return "read-write for group " + s.PublishGroup
}

func (s machineStatus) registryLine() string {
	line := s.Registry + " " + s.Source
	if s.Registry == "zookeeper" {
		since := brief(time.Since(s.Since))
		switch {
		case s.Frozen:
			line += "; frozen for " + since
		case s.Connected:
			line += "; connected for " + since
		default:
			line += "; away for " + since
		}
	}
	if !s.Writable && s.WriteError != "" && !s.Frozen {
		line += "; not writable: " + s.WriteError
	}
	return line
}

// adminLine is where the monitor answers questions over HTTP.
func (s machineStatus) adminLine() string {
	var lines []string
	for _, at := range []string{s.Admin, s.Metrics} {
		switch {
		case strings.HasPrefix(at, "unix:"):
			lines = append(lines, at)
		case at != "":
			lines = append(lines, "http://"+at+"/metrics")
		}
	}
	return strings.Join(lines, ", ")
}

func (s machineStatus) s3Line() string {
	if s.S3.Bucket == "" {
		return ""
	}
	line := "bucket " + s.S3.Bucket
	if s.S3.Endpoint != "" {
		line += " at " + s.S3.Endpoint
	}
	if s.S3.Trouble != "" {
		line += "; away for " + brief(time.Since(s.S3.Since))
	}
	return line
}

// waitFirst and waitMost are the pauses between looks of kingpin wait. It polls because it must work before there is a mount to
// watch, and a start-up that is noticed a quarter of a second late harms nobody.
const (
	waitFirst = 20 * time.Millisecond
	waitMost  = 250 * time.Millisecond
)

// waited is what kingpin wait prints as JSON.
type waited struct {
	Ready bool     `json:"ready"`
	Names []string `json:"names"` // all of them readable
	Took  float64  `json:"took"`
}

func runWait(ctx context.Context, inv *invocation) error {
	started := time.Now()
	limit := inv.duration("timeout")
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var names []string
	err := lookAgain(ctx, func(ctx context.Context) (err error) {
		names, err = inv.lookReady(ctx)
		return err
	})
	if err == nil {
		return inv.emit(output{json: waited{true, names, seconds(time.Since(started))}, names: names})
	}
	if _, wrong := errors.AsType[usageError](err); wrong {
		return err
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("interrupted; %w", err)
	}
	var hints []string
	if h, ok := errors.AsType[hinted](err); ok {
		hints = h.hints
	}
	return hint(remote{fmt.Sprintf("not ready after %v: %s", limit, words(err)), registry.ErrTimeout}, hints...)
}

// lookAgain looks until that succeeds, or can never, or ctx ends. What the last look found is the error then: one that was cut short by
// the end has found nothing, unless it was the only one.
func lookAgain(ctx context.Context, look func(context.Context) error) error {
	var found error
	for pause := waitFirst; ; pause = min(2*pause, waitMost) {
		err := look(ctx)
		if _, wrong := errors.AsType[usageError](err); err == nil || wrong {
			return err
		}
		if found == nil || ctx.Err() == nil {
			found = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return found
		}
	}
}

// lookReady is nil if the machine is ready and the names can be read, else what is in the way.
func (inv *invocation) lookReady(ctx context.Context) ([]string, error) {
	t, err := inv.openTree(ctx)
	if err != nil {
		return nil, err
	}
	if t.monitor == nil {
		return nil, fmt.Errorf("no monitor serves %s: %w", t.root, registry.ErrUnreachable)
	}
	if !t.monitor.Ready {
		return nil, fmt.Errorf("%s: %w", t.monitor.Reason, registry.ErrUnreachable)
	}
	names := []string{}
	for _, word := range inv.words {
		g, err := t.target(word)
		if err != nil {
			return nil, usageError{err}
		}
		if err := t.readable(ctx, g); err != nil {
			return nil, err
		}
		names = append(names, g.String())
	}
	return names, nil
}
