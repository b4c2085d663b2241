package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// registerEvery is how often it is looked how the registration stands.
const registerEvery = time.Second

func registerCommand() command {
	return command{
		name: "register", brief: "keep a service of this machine registered while it is healthy", run: runRegister, direct: true, orders: true,
		tail: "[-- COMMAND...]",
		flags: []option{
			{name: "service", short: "s", value: "", word: "NAME", usage: "the service: S of the serverset discovery.S.E"},
			{name: "env", short: "e", value: "", word: "NAME", usage: "its environment: E of the serverset, as prod"},
			{name: "port", short: "p", value: "", word: "PORT", usage: "where it listens"},
			{name: "host", value: "", word: "HOST", usage: "what others call this machine; default: the address from which it reaches ZooKeeper, or any other network"},
			{name: "weight", value: "", word: "N", usage: "how much of the work is for it, from 0 to 65535"},
			{name: "label", value: []string{}, word: "KEY=VALUE", usage: "what else others may know of it (repeatable)"},
			{name: "check", value: "", word: "tcp|http:/PATH|exec:CMD", usage: "what must work for it to be registered; default: nothing"},
			{name: "interval", value: 5 * time.Second, word: "TIME", usage: "between two checks, and the most that one may take"},
			{name: "rise", value: "2", word: "N", usage: "good checks in a row until it is registered"},
			{name: "fall", value: "3", word: "N", usage: "bad checks in a row until it is not any more"},
			{name: "drain", value: 15 * time.Second, word: "TIME", usage: "how long COMMAND goes on after leaving, since others hear of that a moment later"},
			{name: "timeout", value: time.Minute, word: "TIME", usage: "how long COMMAND may take to end after SIGTERM"},
		},
		exits: []int{exitDone, exitUsage, exitRefused, exitNoName, exitUnreachable, exitNoRight},
		long: `
It registers HOST:PORT in discovery.SERVICE.ENV: by the mount of the monitor, as holding MOUNT/.register/SERVERSET/HOST:PORT open does,
or, with --direct and where there is no monitor, in ZooKeeper itself. That ZooKeeper is away keeps nothing from starting and
takes nobody out: the registration is pending, or lives on, and there is never a second one.

The default HOST is never a loopback address. A machine with several addresses, or behind a translation of addresses, says --host.
The checks tcp and http ask HOST:PORT, as clients do; any answer below 400 is good. exec runs a line of the shell; 0 is good.

COMMAND is started at once, also when there is no monitor yet, and registered when it is healthy. On SIGTERM or Ctrl-C it leaves first, lets COMMAND serve on for --drain,
then sends it SIGTERM and ends with its status; a second signal cuts the drain short. When COMMAND ends by itself it leaves at
once. For systemd: SuccessExitStatus=143 if COMMAND ends by the signal, and TimeoutStopSec= above --drain.

    kingpin register --service user --env prod --port 9090 --check http:/health -- ./userd --port 9090`,
	}
}

// registerPlan is what the command line says.
type registerPlan struct {
	name       registry.Name
	host, port string
	attributes []byte // JSON; nil: none
	check      string
	interval   time.Duration
	drain      time.Duration
	health     health
	argv       []string
}

func (inv *invocation) registerPlan() (p registerPlan, err error) {
	if p.argv = inv.words; len(p.argv) > 0 && inv.flags.ArgsLenAtDash() != 0 {
		return p, wrongUsage("register: what is %q? a command stands behind --", p.argv[0])
	}
	for _, flag := range []string{"service", "env", "port"} {
		if inv.string(flag) == "" {
			return p, wrongUsage("register: --%s is missing", flag)
		}
	}
	for _, flag := range []string{"service", "env"} {
		if strings.Contains(inv.string(flag), ".") {
			return p, wrongUsage("--%s %s: it is one part of a name, without dots", flag, inv.string(flag))
		}
	}
	if p.name, err = registry.ParseName("discovery." + inv.string("service") + "." + inv.string("env")); err != nil {
		return p, usageError{err}
	}
	p.port, p.host, p.check = inv.string("port"), inv.string("host"), inv.string("check")
	if p.interval, p.drain = inv.duration("interval"), inv.duration("drain"); p.interval == 0 {
		return p, wrongUsage("--interval 0s: checks need some time between them")
	}
	for flag, n := range map[string]*int{"rise": &p.health.rise, "fall": &p.health.fall} {
		if *n, err = strconv.Atoi(inv.string(flag)); err != nil || *n < 1 {
			return p, wrongUsage("--%s %s: want a number from 1", flag, inv.string(flag))
		}
	}
	// What the host has to do with it is found out later.
	if _, err := parseCheck(p.check, "host:1"); err != nil {
		return p, wrongUsage("--check %s: %w", p.check, err)
	}
	if n, err := strconv.ParseUint(p.port, 10, 16); err != nil || n == 0 {
		return p, wrongUsage("--port %s: want a number from 1 to 65535", p.port)
	}
	p.attributes, err = inv.attributes()
	return p, err
}

// attributes are --weight and --label as the JSON of a registration.
func (inv *invocation) attributes() ([]byte, error) {
	said := map[string]any{}
	if text := inv.string("weight"); text != "" {
		weight, err := strconv.Atoi(text)
		if err != nil {
			return nil, wrongUsage("--weight %s: want a number from 0 to %d", text, registry.MaxWeight)
		}
		said["weight"] = weight
	}
	labels := map[string]string{}
	for _, text := range inv.strings("label") {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, wrongUsage("--label %s: want KEY=VALUE", text)
		}
		labels[key] = value
	}
	if len(labels) > 0 {
		said["labels"] = labels
	}
	if len(said) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(said)
	if err == nil {
		_, err = mirror.ParseAttributes("host:1", data)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return data, nil
}

func (p registerPlan) endpoint(host string) (registry.Endpoint, error) {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return registry.ParseEndpoint(host + ":" + p.port)
}

func runRegister(ctx context.Context, inv *invocation) error {
	p, err := inv.registerPlan()
	if err != nil {
		return err
	}
	r := &registering{inv: inv, plan: p, command: child{argv: p.argv, env: os.Environ(), inv: inv, stop: inv.duration("timeout")}}
	if len(p.argv) > 0 {
		if err := r.command.find(); err != nil {
			return err
		}
	}
	if r.holder, err = inv.openHolder(ctx, p); err != nil {
		return err
	}
	if r.check, err = parseCheck(p.check, r.holder.endpoint()); err != nil {
		return err
	}
	return errors.Join(r.run(ctx), r.holder.close())
}

// registering is a run of kingpin register.
type registering struct {
	inv     *invocation
	plan    registerPlan
	holder  holder
	check   check // nil: it is healthy by itself
	command child
	said    string // of how the registration stands
}

// run keeps the registration and the command until one of them is to end.
func (r *registering) run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if r.check == nil {
		if err := r.holder.enter(); err != nil {
			return err
		}
	}
	ended := make(chan error, 1) // never, if there is no command
	if len(r.plan.argv) > 0 {
		work.Go(func() {
			status, err := r.command.run(behind)
			if err == nil && status != 0 {
				err = exitStatus(status)
			}
			ended <- err
		})
	}
	looks := make(chan error)
	if r.check != nil {
		work.Go(func() { r.look(behind, looks) })
	}
	tick := time.NewTicker(registerEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-looks:
			r.note(err)
		case <-tick.C:
			r.tell()
		case err := <-ended:
			r.leave("%s has ended", r.plan.argv[0])
			return err
		case <-ctx.Done():
			r.leave("told to end")
			if len(r.plan.argv) == 0 {
				return nil
			}
			return r.drain(stop, ended)
		}
	}
}

// look checks at once, and then again and again.
func (r *registering) look(ctx context.Context, looks chan<- error) {
	for {
		limited, cancel := context.WithTimeout(ctx, r.plan.interval)
		err := r.check(limited)
		cancel()
		select {
		case looks <- err:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(r.plan.interval):
		case <-ctx.Done():
			return
		}
	}
}

// note takes in the outcome of a check.
func (r *registering) note(err error) {
	h := &r.plan.health
	switch {
	case !h.note(err):
	case h.healthy:
		r.inv.say("healthy: %s %d times in a row", r.plan.check, h.rise)
		if err := r.holder.enter(); err != nil {
			r.inv.say("not registered: %s", words(err)) // it is tried again
		}
	default:
		r.leave("not healthy: %s", words(err))
	}
}

func (r *registering) leave(why string, args ...any) {
	r.inv.say(why+"; leaving "+string(r.plan.name), args...)
	r.holder.leave()
	r.said = ""
}

// tell says how the registration stands, when that is news.
func (r *registering) tell() {
	state, reason := r.holder.state()
	said := state
	if reason != "" {
		said += ": " + reason
	}
	if said != r.said && said != "" {
		r.inv.say("%s in %s %s", r.holder.endpoint(), r.plan.name, said)
	}
	r.said = said
}

// drain lets the command serve on for those who have not heard yet that it leaves, and stops it.
func (r *registering) drain(stop context.CancelFunc, ended <-chan error) error {
	again, enough := signal.NotifyContext(context.Background(), endings()...)
	defer enough()
	select {
	case err := <-ended:
		return err
	case <-time.After(r.plan.drain):
	case <-again.Done():
	}
	stop()
	return <-ended
}
