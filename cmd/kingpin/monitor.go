package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// monitorSettings are the settings of a monitor, checked.
type monitorSettings struct {
	dependencies  []registry.Dependency // never none
	mount         string                // absolute
	state         string                // absolute
	noMount       bool
	readOnly      bool
	publishGroup  string
	group         int // its gid; -1: there is none
	createByWrite bool
	renames       map[registry.Kind]bool // as in fs.Options
	maxBody       int64
	maxVersions   int            // as in mirror.Options
	fleet         *fleetSettings // nil: the registry is embedded
	admin         string         // where to answer questions: an address, or webOff
	metrics       string         // the same, for other machines; may be empty
	pprof         bool
	logLevel      string
	logFormat     string
	guard         func(registry.Name) mirror.GuardRules

	demo  bool      // give a new registry a config
	hints io.Writer // where a person reads along; nil: nobody does
}

// roots are the dependencies that this machine follows on its own account.
func (set monitorSettings) roots() []registry.Dependency {
	if slices.Contains(set.dependencies, registry.BaseDependency) {
		return set.dependencies
	}
	return append(slices.Clone(set.dependencies), registry.BaseDependency)
}

// files is where the plain files are.
func (set monitorSettings) files() string { return filepath.Join(set.state, "files") }

// maxMaxBody is the largest --max-body: a body passes through memory whole.
const maxMaxBody = 1 << 30

// settings checks the effective values.
func (r resolved) settings() (monitorSettings, error) {
	text := func(name string) string { return r.set.Lookup(name).Value.String() }
	truth := func(name string) bool { return text(name) == "true" }
	set := monitorSettings{
		mount: absolute(text("mount")), state: absolute(text("state")),
		noMount: truth("no-mount"), readOnly: truth("read-only"), createByWrite: truth("create-by-write"),
		publishGroup: text("publish-group"), group: -1,
		admin: text("admin"), metrics: text("metrics"), pprof: truth("pprof"),
		logLevel: text("log-level"), logFormat: text("log-format"), guard: r.guard(),
	}
	err := errors.Join(checkAddress("admin", set.admin), checkAddress("metrics", set.metrics))
	if err != nil {
		return set, err
	}
	if set.maxBody, err = r.maxBody(); err != nil {
		return set, err
	}
	if set.renames, err = r.renames(); err != nil {
		return set, err
	}
	if set.maxVersions, err = r.maxVersions(); err != nil {
		return set, err
	}
	if set.fleet, err = r.fleet(); err != nil {
		return set, err
	}
	if set.dependencies, err = r.dependencies(); err != nil {
		return set, err
	}
	if len(set.dependencies) == 0 {
		return set, fmt.Errorf("no dependency: say what this machine follows")
	}
	if !set.noMount && (set.state == set.mount || within(set.state, set.mount)) {
		return set, fmt.Errorf("state %s is inside the mount %s, which would hide it", set.state, set.mount)
	}
	if files := set.files(); !set.noMount && (set.mount == files || within(set.mount, files)) {
		return set, fmt.Errorf("mount %s is inside the plain files %s, which it would hide", set.mount, files)
	}
	return set, set.findGroup()
}

func (r resolved) maxBody() (int64, error) {
	text := r.set.Lookup("max-body").Value.String()
	var bytes size
	if err := bytes.Set(text); err != nil || bytes < 1 || bytes > maxMaxBody {
		return 0, fmt.Errorf("max-body %s is not from 1 to %s", text, size(maxMaxBody))
	}
	return int64(bytes), nil
}

// renames are the directories of --notify.
func (r resolved) renames() (map[registry.Kind]bool, error) {
	words, _ := r.set.GetStringArray("notify")
	renames := map[registry.Kind]bool{}
	for _, word := range words {
		known := false
		for _, kind := range []registry.Kind{registry.Config, registry.Serverset, registry.Decider} {
			if word == kind.String()+"=rename" {
				renames[kind], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("notify %q is none of config=rename, serverset=rename and decider=rename", word)
		}
	}
	return renames, nil
}

// maxVersions is below 0 for any number.
func (r resolved) maxVersions() (int, error) {
	text := r.set.Lookup("max-versions-per-minute").Value.String()
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil:
		return 0, fmt.Errorf("max-versions-per-minute %q is not a whole number", text)
	case n == 0:
		return -1, nil
	}
	return int(n), nil
}

func (r resolved) dependencies() ([]registry.Dependency, error) {
	words, _ := r.set.GetStringArray("dependency")
	var all []registry.Dependency
	for _, word := range words {
		d, err := registry.ParseDependency(word)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// checkFiles says whether what the settings name can be read here and now. A monitor starts without: reads do not depend on it.
func (set monitorSettings) checkFiles(ctx context.Context) error {
	if set.fleet == nil {
		return nil
	}
	return set.fleet.checkFiles(ctx)
}

// describeRegistry tells a person where the registry is, and whose.
func (set monitorSettings) describeRegistry() string {
	if set.fleet == nil {
		return fmt.Sprintf("embedded (%s), this machine only", shorter(filepath.Join(set.state, registryFile)))
	}
	return fmt.Sprintf("zookeeper %s, s3 bucket %s", set.fleet.source(), set.fleet.s3.Bucket)
}

func within(path, dir string) bool { return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") }

// findGroup turns the name, or number, of the publish group into a gid.
func (set *monitorSettings) findGroup() error {
	if set.publishGroup == "" {
		return nil
	}
	if g, err := user.LookupGroup(set.publishGroup); err == nil {
		set.group, err = strconv.Atoi(g.Gid)
		return err
	}
	gid, err := strconv.Atoi(set.publishGroup)
	if err != nil || gid < 0 {
		return fmt.Errorf("publish-group: there is no group %q on this machine", set.publishGroup)
	}
	set.group = gid
	return nil
}

// runMonitor is the process that an operator starts: the keeper, or without a mount the whole monitor.
func runMonitor(ctx context.Context, inv *invocation) error {
	effective, err := inv.resolveFor()
	if err != nil {
		return usageError{err}
	}
	if inv.bool("print-config") {
		return inv.emit(output{json: effective.all(), names: settingNames(), table: effective.print})
	}
	set, err := effective.settings()
	if err != nil {
		return usageError{err}
	}
	if inv.bool("check-config") {
		if err := set.checkFiles(ctx); err != nil {
			return usageError{err}
		}
		inv.say("the configuration is valid")
		return nil
	}
	if inv.bool("rescue") {
		if set.noMount {
			return nil // there is nothing that could be dead
		}
		return noErrno(keeper.Rescue(set.mount, set.files()))
	}
	if set.demo = inv.bool("demo"); set.demo && set.fleet != nil {
		return wrongUsage("--demo is for a registry of this machine alone, and --zookeeper says that it is in a fleet")
	}
	log := newLogger(inv.stderr, set.logLevel, set.logFormat)
	if inv.bool("hints") || terminal(inv.stderr) {
		set.hints = inv.stderr
		fmt.Fprintf(inv.stderr, "kingpin %s  registry: %s\n", version, set.describeRegistry())
	}
	if set.noMount {
		return inv.monitorFiles(ctx, set, log)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	flags := effective.flags()
	if set.demo {
		flags = append(flags, "--demo")
	}
	if set.hints != nil {
		flags = append(flags, "--hints")
	}
	o := orders{
		path: filepath.Join(set.state, keeperSocket), self: self, server: inv.reread(set),
		upgrades: make(chan keeper.Upgrade), log: log,
	}
	taking, stop := context.WithCancel(ctx)
	var socket sync.WaitGroup
	socket.Go(func() { o.serve(taking) })
	runtime.GOMAXPROCS(1) // a keeper mostly waits, and its threads would only wake one another
	err = keeper.Run(ctx, keeper.Config{
		Mount: set.mount, Server: append([]string{self, "__server"}, flags...), Poker: []string{self, "__poker"},
		Under: set.files(), Upgrade: o.upgrades, Logger: log,
	})
	stop()
	socket.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == keeper.StatusFatal {
		return exitStatus(exitFailed) // the server has said why
	}
	return noErrno(err)
}

// reread reads the settings anew for a server that is to take over. The mount and the state directory cannot change under way.
func (inv *invocation) reread(now monitorSettings) func() ([]string, error) {
	return func() ([]string, error) {
		effective, err := inv.resolveFor()
		if err != nil {
			return nil, err
		}
		next, err := effective.settings()
		switch {
		case err != nil:
			return nil, err
		case next.mount != now.mount || next.state != now.state || next.noMount:
			return nil, errors.New("mount, state and no-mount change with a restart, not under way")
		}
		return effective.flags(), nil
	}
}

// monitorFiles is a monitor without a mount, in one process.
func (inv *invocation) monitorFiles(ctx context.Context, set monitorSettings, log *slog.Logger) error {
	s, err := openServer(set, log)
	if err != nil {
		return noErrno(err)
	}
	err = s.run(ctx, s.serveFiles)
	return noErrno(errors.Join(err, s.close()))
}

// noErrno keeps the words of an error: an errno in a monitor's own trouble is no answer of a mount, so it must not choose the exit
// code, except that it is a matter of rights.
func noErrno(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return remote{err.Error(), registry.ErrPermission}
	}
	if h, ok := errors.AsType[hinted](err); ok {
		return hint(errors.New(err.Error()), h.hints...)
	}
	return errors.New(err.Error())
}

// shorter is a path as it is from here, if that is not longer.
func shorter(path string) string {
	cwd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(cwd, path); err == nil && len(rel) < len(path) && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// serverSettings are those that the keeper was started with, handed on as flags: the files and the environment were read once.
func (inv *invocation) serverSettings() (monitorSettings, error) {
	r, err := resolve(inv.flags, nil, func(string) (string, bool) { return "", false })
	if err != nil {
		return monitorSettings{}, usageError{err}
	}
	set, err := r.settings()
	if err != nil {
		return set, usageError{err}
	}
	set.demo = inv.bool("demo")
	if inv.bool("hints") {
		set.hints = inv.stderr
	}
	return set, nil
}

// runPoker is the process that touches the mount on the server's behalf.
func runPoker(context.Context, *invocation) error {
	return keeper.Poke()
}
