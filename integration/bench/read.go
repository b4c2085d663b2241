package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/integration"
)

var (
	//go:embed testdata/minimal.c
	minimalSource []byte
	//go:embed testdata/client.c
	clientSource []byte
)

const (
	readName  = "config.manageddata.bench.read"
	readSize  = 1024
	statCount = 500_000 // of 1 µs
	readCount = 20_000  // of 30 µs or so
	core      = 0       // where a client and its server are pinned
)

// reads compares open + read + close, and stat, with minimal servers in C and with the local file system.
func (b *bench) reads(ctx context.Context) error {
	client, err := b.compile(ctx, "client", clientSource)
	if err != nil {
		return err
	}
	bare, err := b.minimal(ctx, "many")
	if err != nil {
		return err
	}
	defer bare.stop()
	single, err := b.minimal(ctx, "single")
	if err != nil {
		return err
	}
	defer single.stop()
	o, err := b.site("read")
	if err != nil {
		return err
	}
	m, err := integration.Start(ctx, o)
	if err != nil {
		return err
	}
	defer m.Stop()
	if err := writeConfig(ctx, m, readName, strings.Repeat("x", readSize)); err != nil {
		return err
	}
	ours, local := m.Path("config", readName), filepath.Join(b.dir, "local")
	if err := os.WriteFile(local, make([]byte, readSize), 0o644); err != nil {
		return err
	}
	server, err := m.Server()
	if err != nil {
		return err
	}

	free, err := b.alternate(ctx, client, "read", "", ours, bare.path, single.path)
	if err != nil {
		return err
	}
	for _, pid := range []int{server, bare.cmd.Process.Pid, single.cmd.Process.Pid} {
		if err := pin(pid, core); err != nil {
			return err
		}
	}
	pinned, err := b.alternate(ctx, client, "read", strconv.Itoa(core), ours, bare.path, single.path)
	if err != nil {
		return err
	}
	stats, err := b.alternate(ctx, client, "stat", strconv.Itoa(core), ours, local)
	if err != nil {
		return err
	}
	b.compare("open + read + close of a cached 1 KB config (bare: libfuse in C)", "1.1", pinned[0], pinned[1])
	b.compare("  beside a libfuse server of a single thread", "", pinned[0], pinned[2])
	b.compare("  on any core (bare: libfuse in C)", "", free[0], free[1])
	b.compare("stat (bare: the local file system)", "1.2", stats[0], stats[1])
	return nil
}

// alternate runs the client on each path in turn, as often as there are rounds.
func (b *bench) alternate(ctx context.Context, client, mode, cpu string, paths ...string) ([][]time.Duration, error) {
	series, count := make([][]time.Duration, len(paths)), readCount
	if mode == "stat" {
		count = statCount
	}
	for range b.rounds {
		for i, path := range paths {
			// By its name in the working directory: the way there is longer for one than for the other.
			args := []string{mode, filepath.Base(path), strconv.Itoa(count)}
			if cpu != "" {
				args = append(args, cpu)
			}
			cmd := exec.CommandContext(ctx, client, args...)
			cmd.Dir = filepath.Dir(path)
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("client %v: %w", args, err)
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			if err != nil {
				return nil, err
			}
			series[i] = append(series[i], time.Duration(ns))
		}
	}
	return series, nil
}

// bareServer is the minimal server in C and its mount.
type bareServer struct {
	cmd         *exec.Cmd
	mount, path string
}

// minimal starts the server in C with many threads or a single one.
func (b *bench) minimal(ctx context.Context, threads string) (*bareServer, error) {
	flags, err := exec.CommandContext(ctx, "pkg-config", "--cflags", "--libs", "fuse3").Output()
	if err != nil {
		return nil, fmt.Errorf("pkg-config fuse3: %w", err)
	}
	binary, err := b.compile(ctx, "minimal", minimalSource, strings.Fields(string(flags))...)
	if err != nil {
		return nil, err
	}
	s := &bareServer{mount: filepath.Join(b.dir, threads)}
	s.path = filepath.Join(s.mount, "f0")
	if err := os.Mkdir(s.mount, 0o755); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(binary, s.mount, "1", strconv.Itoa(readSize))
	if threads == "single" {
		s.cmd.Args = append(s.cmd.Args, threads)
	}
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, poll(ctx, 5*time.Second, "the minimal server", func() error {
		_, err := os.Stat(s.path)
		return err
	})
}

func (s *bareServer) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

func (b *bench) compile(ctx context.Context, name string, source []byte, flags ...string) (string, error) {
	file, binary := filepath.Join(b.dir, name+".c"), filepath.Join(b.dir, name)
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return "", err
	}
	gcc := exec.CommandContext(ctx, "gcc", append([]string{"-O2", "-o", binary, file}, flags...)...)
	if out, err := gcc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

// pin binds every thread of a process to one core; those it starts later inherit that.
func pin(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil {
			return fmt.Errorf("pin thread %d of %d: %w", id, pid, err)
		}
	}
	return nil
}

// poll tries until it works, many times a millisecond's worth of patience apart.
func poll(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, after %v: %w", what, limit, err)
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// writeConfig creates a config and gives it a first version.
func writeConfig(ctx context.Context, m *integration.Monitor, name, body string) error {
	if out, err := m.Command(ctx, "create", name).CombinedOutput(); err != nil {
		return fmt.Errorf("kingpin create %s: %w\n%s", name, err, out)
	}
	return os.WriteFile(m.Path("config", name), []byte(body), 0o644)
}
