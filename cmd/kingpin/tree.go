package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/registry"
)

// hintTimeout bounds the question that only makes an error message better.
const hintTimeout = 2 * time.Second

// tree is the directory a verb works on: the mount, or the plain files where there is no mount or nobody serves it.
type tree struct {
	place
	root    string
	served  bool           // it is a mount, and a monitor answered through it
	direct  bool           // there is no tree: the registry is asked by this process
	monitor *monitorStatus // nil: none answered
	control *client
}

// openTree finds the tree: the mount; else what the monitor behind the control socket says; else plain files, which any program
// may read with the monitor dead.
func (inv *invocation) openTree(ctx context.Context) (*tree, error) {
	if inv.bool("direct") {
		return inv.openDirect(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	a := inv.asked()
	t := &tree{root: a.mount, control: newClient(a.socket())}
	if err := t.find(ctx, a); err != nil {
		return nil, err
	}
	t.cwd, _ = os.Getwd()
	t.roots = []string{t.root}
	if t.monitor != nil {
		t.roots = append(t.roots, t.monitor.Files)
	}
	return t, nil
}

// asked is where the user says the monitor is. Of a mount and a state directory one may be left out, and is not looked at then if
// the other was said; what is said by a flag silences the environment.
type asked struct {
	mount, state           string
	mountAsked, stateAsked bool
}

func (inv *invocation) asked() asked {
	mount, state := inv.flags.Lookup("mount"), inv.flags.Lookup("state")
	given := func(f, other *pflag.Flag) bool {
		return f.Changed || f.Value.String() != f.DefValue && !other.Changed
	}
	return asked{
		mount: absolute(mount.Value.String()), mountAsked: given(mount, state),
		state: absolute(state.Value.String()), stateAsked: given(state, mount),
	}
}

// lookAtMount and lookAtState say which of the two may be looked at.
func (a asked) lookAtMount() bool { return a.mountAsked || !a.stateAsked }
func (a asked) lookAtState() bool { return a.stateAsked || !a.mountAsked }

// socket is the control socket of the state directory; that beside the plain files, if these were said to be the mount.
func (a asked) socket() string {
	if !a.stateAsked && filepath.Base(a.mount) == "files" {
		return filepath.Join(filepath.Dir(a.mount), controlSocket)
	}
	return filepath.Join(a.state, controlSocket)
}

func (t *tree) find(ctx context.Context, a asked) error {
	var dead error
	if a.lookAtMount() {
		dead = await(ctx, a.mount, t.askMount)
		if dead == nil {
			return nil
		}
		if errors.Is(dead, registry.ErrTimeout) {
			return hint(dead, // every other look at it would hang too
				"a server that hangs is replaced within half a minute; if it is not: systemctl restart kingpin", "what is wrong: kingpin doctor")
		}
	}
	if t.askSocket(ctx, a) {
		return nil
	}
	var plain []string
	if a.lookAtMount() {
		plain = append(plain, a.mount)
	}
	if a.lookAtState() {
		plain = append(plain, filepath.Join(a.state, "files"))
	}
	for _, root := range plain {
		if info, err := os.Stat(filepath.Join(root, "config")); err == nil && info.IsDir() {
			t.root = root
			return nil
		}
	}
	if errors.Is(dead, syscall.ENOTCONN) {
		return hint(fmt.Errorf("the mount %s is dead, nobody serves it: %w", a.mount, registry.ErrUnreachable),
			"start the monitor, it mounts over it: kingpin monitor")
	}
	where := a.mount
	if !a.lookAtMount() {
		where = a.state
	}
	return hint(fmt.Errorf("no monitor serves %s: %w", where, registry.ErrUnreachable),
		"is it running? start it: kingpin monitor", "is it elsewhere? say --mount PATH or --state PATH")
}

// askSocket asks the monitor behind the control socket where its tree is.
func (t *tree) askSocket(ctx context.Context, a asked) bool {
	var m monitorStatus
	if t.control.call(ctx, "GET", "/v1/monitor", nil, &m) != nil {
		return false // what is wrong with it matters when something is to be asked of it
	}
	root := m.Mount
	if root == "" {
		root = m.Files
	}
	if a.mountAsked && a.mount != root {
		return false
	}
	t.root, t.served, t.monitor = root, m.Mount != "", &m
	t.control.may = whoMayPublish(m.PublishGroup)
	return true
}

// askMount reads what the monitor says of itself through the mount.
func (t *tree) askMount() error {
	data, err := os.ReadFile(filepath.Join(t.root, ".status", "monitor.json"))
	if err != nil {
		return err
	}
	var m monitorStatus
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("%s/.status/monitor.json: %w", t.root, err)
	}
	t.served, t.monitor = true, &m
	t.control = newClient(m.Control)
	t.control.may = whoMayPublish(m.PublishGroup)
	return nil
}

// await bounds what cannot be called off, such as a look at a mount whose server hangs: the goroutine stays behind, and ends with
// the program.
func await(ctx context.Context, what string, look func() error) error {
	done := make(chan error, 1)
	go func() { done <- look() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return errInterrupted
		}
		return fmt.Errorf("%s does not answer: %w", what, registry.ErrTimeout)
	}
}

// errInterrupted is the end of what a signal interrupted.
var errInterrupted = errors.New("interrupted")

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// names in one of the directories, sorted.
func (t *tree) names(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(t.root, dir))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && (dir == "decider" || e.Type().IsRegular()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// every name in the tree, as they are given to a verb.
func (t *tree) every() []string {
	var all []string
	for _, dir := range []string{"config", "serverset"} {
		names, _ := t.names(dir)
		all = append(all, names...)
	}
	deciders, _ := t.names("decider")
	for _, d := range deciders {
		all = append(all, "decider/"+d)
	}
	return all
}

// named finds the target of a word, and checks that it is a file of the tree.
func (t *tree) named(ctx context.Context, inv *invocation, word string) (target, error) {
	g, err := t.target(word)
	if err != nil {
		return target{}, t.missing(ctx, word, err)
	}
	if g.dir == depDir {
		return target{}, hint(wrongUsage("%s is a dependency, not a file", g), "its members: kingpin dep ls "+g.name)
	}
	if t.direct {
		return g, t.inRegistry(ctx, inv, g)
	}
	if _, err := os.Lstat(g.path(t.root)); errors.Is(err, os.ErrNotExist) {
		return target{}, t.missing(ctx, g.String(), nil)
	} else if err != nil {
		return target{}, fmt.Errorf("%s: %w", g, fromErrno(err))
	}
	return g, nil
}

// openNamed finds the tree, and in it the file that the first word of the command line names.
func (inv *invocation) openNamed(ctx context.Context) (*tree, target, error) {
	t, err := inv.openTree(ctx)
	if err != nil {
		return nil, target{}, err
	}
	g, err := t.named(ctx, inv, inv.word(0))
	return t, g, err
}

// missing explains a name that has no file here: it is elsewhere, and why; or it is mistyped, and what is nearest.
func (t *tree) missing(ctx context.Context, word string, malformed error) error {
	if malformed == nil {
		if err := t.elsewhere(ctx, word); err != nil {
			return err
		}
	}
	err := fmt.Errorf("%w: %s", registry.ErrNotExist, word)
	var hints []string
	if malformed != nil {
		hints = append(hints, words(malformed))
	}
	if near, ok := registry.Nearest(word, t.every()); ok {
		hints = append(hints, "nearest: "+near)
	}
	if malformed == nil && !strings.Contains(word, "/") {
		hints = append(hints, "to make it: kingpin create "+word)
	}
	return hint(err, hints...)
}

// elsewhere is why a name that the registry knows has no file here; nil if the registry does not know it either, or does not answer.
func (t *tree) elsewhere(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	var known knownName
	if err := t.control.call(ctx, "GET", "/v1/registry/names/"+name, nil, &known); err != nil {
		return nil
	}
	if !known.Exists {
		if known.Nearest == "" {
			return nil
		}
		return hint(fmt.Errorf("%w: %s", registry.ErrNotExist, name),
			"nearest: "+known.Nearest, "to make it: kingpin create "+name)
	}
	if known.Followed {
		return hint(fmt.Errorf("%s exists and is followed here, but has not arrived: %w", name, registry.ErrNotExist),
			"why: kingpin status "+name)
	}
	return t.notHere(name, known.Dependencies)
}

// notHere is the error of what exists in the registry, where these hold it, and is not for this machine.
func (t *tree) notHere(name string, holders []string) error {
	roots := t.rootDependencies()
	if len(roots) == 0 {
		roots = []string{"DEPENDENCY"}
	}
	err := fmt.Errorf("%s exists, but no dependency of this machine (%s) holds it", name, strings.Join(roots, ", "))
	hints := []string{"try: kingpin dep add " + roots[0] + " " + name}
	if len(holders) > 0 {
		hints = append(hints, "held by: "+strings.Join(holders, ", "))
	}
	return hint(remote{err.Error(), registry.ErrNotExist}, hints...)
}

// rootDependencies are those that this machine follows on its own account.
func (t *tree) rootDependencies() []string {
	if t.monitor == nil {
		return nil
	}
	return slices.Clone(t.monitor.Dependencies)
}

// writable checks that a write would reach a monitor: in the plain tree it would spoil an immutable body.
func (t *tree) writable() error {
	switch {
	case t.monitor == nil:
		return hint(fmt.Errorf("nothing can be published: no monitor serves %s: %w", t.root, registry.ErrUnreachable),
			"start it: kingpin monitor")
	case t.monitor.ReadOnly:
		return fmt.Errorf("the monitor of %s is read only: %w", t.root, registry.ErrReadOnly)
	}
	return nil
}

// readable says why a target cannot be read here now.
func (t *tree) readable(ctx context.Context, g target) error {
	f, err := os.Open(g.path(t.root))
	if errors.Is(err, os.ErrNotExist) {
		return t.missing(ctx, g.String(), nil)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g, fromErrno(err))
	}
	return f.Close()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
