// Fleet runs a small one to look at: a real ZooKeeper, a real S3 server and two monitors, until Ctrl-C.
//
// What a stranger touches lies below /tmp/kingpin: the mounts a and b, and the configuration file that both monitors were started
// with. Everything else is in a directory of its own, and all of it is gone in the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/integration"
	"github.com/kingpinfs/kingpin/integration/server"
)

// What there is to look at in the beginning.
const (
	dependency = "demo.dep"
	name       = "config.manageddata.demo.greeting"
	greeting   = `{"hello": "world"}` + "\n"
)

// fleet is one run.
type fleet struct {
	kingpin string // the binary
	group   string // who may publish, beside root
	mounts  string // a and b are made in it
	quiet   bool

	dir       string // everything that nobody looks at
	zookeeper *server.ZooKeeper
	s3        *server.S3Server
	endings   []func() error // what to undo, the last first
}

func main() {
	f := &fleet{}
	flag.StringVar(&f.kingpin, "kingpin", "bin/kingpin", "the `binary` of the monitors")
	flag.StringVar(&f.group, "group", "", "the `group` whose members may publish, beside root")
	flag.StringVar(&f.mounts, "mounts", "/tmp/kingpin", "the `directory` in which a and b are mounted")
	flag.BoolVar(&f.quiet, "quiet", false, "do not show what the monitors log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := f.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func (f *fleet) run(ctx context.Context) (err error) {
	started := time.Now()
	defer func() { err = errors.Join(err, f.end()) }()
	for _, step := range []func(context.Context) error{f.prepare, f.startServers, f.configure, f.seed} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, machine := range []string{"a", "b"} {
		if err := f.startMonitor(ctx, machine); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	f.invite(time.Since(started))
	<-ctx.Done()
	return nil
}

// later undoes something when the run is over.
func (f *fleet) later(undo func() error) { f.endings = append(f.endings, undo) }

func (f *fleet) end() error {
	var errs []error
	for i := len(f.endings) - 1; i >= 0; i-- {
		errs = append(errs, f.endings[i]())
	}
	return errors.Join(errs...)
}

// prepare makes the directories.
func (f *fleet) prepare(context.Context) (err error) {
	if f.kingpin, err = filepath.Abs(f.kingpin); err != nil {
		return err
	}
	if mounts, err := integration.Mounts(f.mounts); err != nil || len(mounts) > 0 {
		return fmt.Errorf("%s is in use, by another fleet? %v %w", f.mounts, mounts, err)
	}
	if err := os.MkdirAll(f.mounts, 0o755); err != nil {
		return err
	}
	f.later(func() error { return ifEmpty(os.Remove(f.mounts)) })
	if f.dir, err = os.MkdirTemp("", "kingpin-fleet"); err != nil {
		return err
	}
	f.later(func() error { return os.RemoveAll(f.dir) })
	return nil
}

// ifEmpty passes over that a directory is somebody else's too.
func ifEmpty(err error) error {
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

func (f *fleet) startServers(context.Context) (err error) {
	if f.zookeeper, err = server.NewZooKeeper(filepath.Join(f.dir, "zookeeper")); err != nil {
		return err
	}
	if f.s3, err = server.NewS3(filepath.Join(f.dir, "s3")); err != nil {
		return err
	}
	f.later(func() error { f.s3.Kill(); f.zookeeper.Kill(); return nil })
	return errors.Join(f.zookeeper.Start(), f.s3.Start())
}

// configure writes what a machine of this fleet has in /etc/kingpin.
func (f *fleet) configure(context.Context) error {
	keys := filepath.Join(f.mounts, "aws.keys")
	lines := []string{
		"zookeeper     = " + f.zookeeper.Addr + "/kingpin",
		"s3-bucket     = " + f.s3.Bucket,
		"s3-endpoint   = " + f.s3.Endpoint,
		"s3-path-style = yes",
		"aws-key-file  = " + keys,
		"dependency    = " + dependency,
		"publish-group = " + f.group,
	}
	for path, text := range map[string]string{
		f.conf(): strings.Join(lines, "\n") + "\n",
		keys:     "[Credentials]\naws_access_key_id = " + f.s3.AccessKey + "\naws_secret_access_key = " + f.s3.SecretKey + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // keys to a bucket that is gone with the run
			return err
		}
		f.later(func() error { return os.Remove(path) })
	}
	return nil
}

func (f *fleet) conf() string { return filepath.Join(f.mounts, "kingpin.conf") }

// seed makes something to look at, as an operator would on a machine without a monitor.
func (f *fleet) seed(ctx context.Context) error {
	file := filepath.Join(f.dir, "greeting")
	if err := os.WriteFile(file, []byte(greeting), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"dep", "create", dependency}, {"create", name, file, "--dep", dependency}} {
		if err := f.direct(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) startMonitor(ctx context.Context, machine string) error {
	o := integration.Options{
		Binary: f.kingpin,
		Mount:  filepath.Join(f.mounts, machine),
		State:  filepath.Join(f.dir, machine),
		Flags:  []string{"--config", f.conf(), "--admin=127.0.0.1:0"}, // two on one machine
	}
	if !f.quiet {
		o.Log = prefixed{machine}
	}
	if err := os.MkdirAll(o.Mount, 0o755); err != nil {
		return err
	}
	f.later(func() error { return os.Remove(o.Mount) })
	m, err := integration.Start(ctx, o)
	if err != nil {
		return fmt.Errorf("monitor %s: %w", machine, err)
	}
	f.later(m.Stop)
	return nil
}

// prefixed shows on stderr which monitor says something.
type prefixed struct{ machine string }

func (p prefixed) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(os.Stderr, "    %s: %s\n", p.machine, strings.TrimSuffix(line, "\n"))
	}
	return len(text), nil
}

// invite says what to do with it.
func (f *fleet) invite(took time.Duration) {
	a, b := filepath.Join(f.mounts, "a"), filepath.Join(f.mounts, "b")
	fmt.Printf(`ZooKeeper %s, S3 %s, monitors on %s and %s, ready in %.1f s. Ctrl-C ends all of it. In another shell, try:
    inotifywait -q -m -e close_write --format 'b has %%f' %s/config &
    echo '{"hello": "fleet"}' > %s/config/%s
    cat %s/config/%s ; bin/kingpin status --mount %s
`, f.zookeeper.Addr, f.s3.Endpoint, a, b, took.Seconds(), b, a, name, b, name, b)
}

// direct runs a verb without a monitor.
func (f *fleet) direct(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, f.kingpin, append(args, "--direct", "--config", f.conf(), "--quiet")...)
	if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kingpin %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return ctx.Err()
}
