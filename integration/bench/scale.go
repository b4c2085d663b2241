package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/integration"
)

const (
	fuseMagic  = 0x65735546 // statfs(2) of a FUSE mount
	startLimit = 2 * time.Minute
)

// scale measures a monitor that follows many configs: how soon it serves after a restart, its memory, and what it does when
// nothing happens.
func (b *bench) scale(ctx context.Context) error {
	small, err := b.restarts(ctx, "small", 1)
	if err != nil {
		return err
	}
	b.add(row{what: "restart with 1 config, until the first read is served", ours: short(median(small.first)), budget: "50 ms"})

	large, err := b.restarts(ctx, "large", b.names)
	if err != nil {
		return err
	}
	many := strconv.Itoa(b.names) + " configs"
	b.add(row{what: "restart with " + many + ", until the first read is served", ours: short(median(large.first)), budget: "300 ms"})
	b.compare("restart with "+many+", until all were read once (bare: the plain files)", "", large.all, large.plain)
	b.add(row{what: "memory of the server at " + many + " of 1 KB", ours: mebibytes(large.memory["server"]), budget: "64 MiB"})
	for _, role := range []string{"keeper", "poker"} {
		b.add(row{what: "memory of the " + role + " (bare: a Go program that does nothing)", ours: mebibytes(large.memory[role]),
			bare: mebibytes(large.bareMemory)})
	}
	for _, l := range []struct {
		names string
		life
	}{{"1 config", small}, {many, large}} {
		b.add(row{what: fmt.Sprintf("idle at %s, of one core over %v (bare: three programs that do nothing)", l.names, b.idle),
			ours: l.idle.all().String(), bare: l.bareIdle.all().String(), budget: "0.1 %"})
		for _, role := range roles {
			b.add(row{what: "  of it the " + role, ours: l.idle[role].String(), bare: l.bareIdle[role].String()})
		}
	}
	return nil
}

// life is what was seen of one state over several restarts.
type life struct {
	first, all     []time.Duration  // since the start of the process
	plain          []time.Duration  // reading the plain files, all of them
	memory         map[string]int64 // resident bytes, by role
	bareMemory     int64            // of a program that does nothing
	idle, bareIdle stillness
}

// restarts makes a state of some configs and starts a monitor on it again and again. The last one is looked at.
func (b *bench) restarts(ctx context.Context, name string, configs int) (life, error) {
	o, err := b.site(name, "--dependency", "bench.dep")
	if err != nil {
		return life{}, err
	}
	if err := seed(ctx, o, configs); err != nil {
		return life{}, err
	}
	var l life
	for round := range b.rounds {
		if err := l.restart(ctx, o, configs, round == b.rounds-1, b.idle); err != nil {
			return life{}, err
		}
	}
	return l, nil
}

func (l *life) restart(ctx context.Context, o integration.Options, configs int, last bool, idle time.Duration) (err error) {
	started := time.Now()
	plain, err := readAll(filepath.Join(o.State, "files/config"), configs)
	if err != nil {
		return err
	}
	l.plain = append(l.plain, plain.Sub(started))

	o.Unready = true
	started = time.Now()
	m, err := integration.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	if err := poll(ctx, startLimit, "first read", func() error { return servedByFUSE(m.Path("config", configName(0))) }); err != nil {
		return fmt.Errorf("%w\n%s", err, m.Log())
	}
	l.first = append(l.first, time.Since(started))
	all, err := readAll(m.Path("config"), configs)
	if err != nil {
		return err
	}
	l.all = append(l.all, all.Sub(started))
	if err := m.Ready(ctx); err != nil {
		return err
	}
	if !last {
		return nil
	}
	return l.look(ctx, m, idle)
}

// look measures a monitor that has nothing to do.
func (l *life) look(ctx context.Context, m *integration.Monitor, idle time.Duration) error {
	bare, end, err := startBare()
	if err != nil {
		return err
	}
	defer end()
	if err := pause(ctx, idle/3); err != nil { // what follows the start is over
		return err
	}
	ours, err := processes(m)
	if err != nil {
		return err
	}
	l.memory = map[string]int64{}
	for role, pid := range ours {
		if l.memory[role], err = residentBytes(pid); err != nil {
			return err
		}
	}
	if l.bareMemory, err = residentBytes(bare["keeper"]); err != nil {
		return err
	}
	l.idle, l.bareIdle, err = watchIdle(ctx, ours, bare, idle)
	return err
}

// servedByFUSE reads a file and insists that it came through the mount, not from what lies below.
func servedByFUSE(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Type != fuseMagic {
		return fmt.Errorf("%s is not on the mount yet", path)
	}
	if n, err := f.Read(make([]byte, 2*readSize)); err != nil || n != readSize {
		return fmt.Errorf("%s: %d bytes, %v", path, n, err)
	}
	return nil
}

// readAll reads every config once and returns when the last was read.
func readAll(dir string, configs int) (time.Time, error) {
	buffer := make([]byte, 2*readSize)
	for i := range configs {
		fd, err := unix.Open(filepath.Join(dir, configName(i)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return time.Time{}, fmt.Errorf("open %s: %w", configName(i), err)
		}
		n, err := unix.Read(fd, buffer)
		unix.Close(fd)
		if err != nil || n != readSize {
			return time.Time{}, fmt.Errorf("read %s: %d bytes, %v", configName(i), n, err)
		}
	}
	return time.Now(), nil
}

func residentBytes(pid int) (int64, error) {
	kilobytes := number(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	if kilobytes == 0 {
		return 0, fmt.Errorf("process %d has no VmRSS", pid)
	}
	return kilobytes << 10, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func percent(share float64) string { return fmt.Sprintf("%.3f %%", share*100) }
