package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// patience is how long a test waits for what must come at some time.
const patience = time.Minute

const (
	blacklist registry.Name = "config.manageddata.spam.blacklist"
	greylist  registry.Name = "config.manageddata.spam.greylist"
	users     registry.Name = "discovery.user.prod"

	v1 registry.Version = "1795296152.000000001"
	v2 registry.Version = "1795296152.000000002"
	v3 registry.Version = "1795296152.52" // as Python writes them
)

// hasty is for tests that break connections: no long pauses.
var hasty = zookeeper.Options{MaxBackoff: 20 * time.Millisecond}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t testing.TB, err, want error, step string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", step, err, want)
	}
}

// eventually calls check until it returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.After(patience)
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-retry.C:
		case <-deadline:
			t.Fatalf("still, after %v: %v", patience, err)
		}
	}
}

// connected waits until a client can reach its ensemble.
func connected(t testing.TB, c *zookeeper.Client) {
	t.Helper()
	eventually(t, c.Err)
}

// follower takes what a feed yields. It fails the test if something older comes.
type follower[T any] struct {
	values chan T
	errs   chan error
	stop   func()
}

func follow[T any](t testing.TB, feed func(context.Context) iter.Seq2[T, error], order func(T) registry.Order) *follower[T] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower[T]{values: make(chan T), errs: make(chan error, 100)}
	var running sync.WaitGroup
	running.Go(func() {
		var last registry.Order
		for v, err := range feed(ctx) {
			if err != nil {
				select {
				case f.errs <- err:
				default:
				}
				continue
			}
			if o := order(v); o != 0 && o < last {
				t.Errorf("order %d after %d", o, last)
			} else if o != 0 {
				last = o
			}
			select {
			case f.values <- v:
			case <-ctx.Done():
			}
		}
	})
	f.stop = func() { cancel(); running.Wait() }
	t.Cleanup(f.stop)
	return f
}

// until returns the first value that ok accepts.
func (f *follower[T]) until(t testing.TB, what string, ok func(T) bool) T {
	t.Helper()
	deadline := time.After(patience)
	var last any = "nothing"
	for {
		select {
		case v := <-f.values:
			if ok(v) {
				return v
			}
			last = v
		case <-deadline:
			t.Fatalf("the feed never yielded %s; the last was %+v", what, last)
		}
	}
}

// trouble waits for an error of the feed.
func (f *follower[T]) trouble(t testing.TB, want error) {
	t.Helper()
	select {
	case err := <-f.errs:
		refused(t, err, want, "the feed")
	case v := <-f.values:
		t.Errorf("the feed yielded %+v, want %v", v, want)
	case <-time.After(patience):
		t.Errorf("the feed said nothing of %v", want)
	}
}

func watch(t testing.TB, c *zookeeper.Client, p registry.Pointer) *follower[registry.State] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.State, error] { return c.Watch(ctx, p) },
		func(s registry.State) registry.Order { return s.Order })
}

func at(v registry.Version) func(registry.State) bool {
	return func(s registry.State) bool { return s.Exists && s.Version == v }
}

func membersOf(t testing.TB, c *zookeeper.Client, n registry.Name) *follower[registry.Membership] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.Membership, error] { return c.Members(ctx, n) },
		func(m registry.Membership) registry.Order { return m.Order })
}

func serve(n int) func(registry.Membership) bool {
	return func(m registry.Membership) bool { return m.Exists && len(m.Members) == n }
}

func edgesOf(t testing.TB, c *zookeeper.Client, d registry.Dependency) *follower[registry.Edges] {
	t.Helper()
	return follow(t, func(ctx context.Context) iter.Seq2[registry.Edges, error] { return c.Dependency(ctx, d) },
		func(e registry.Edges) registry.Order { return e.Order })
}

func advance(t testing.TB, c *zookeeper.Client, p registry.Pointer, base, next registry.Version) registry.State {
	t.Helper()
	s, err := c.Advance(t.Context(), p, base, next, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// join registers a member until leave is called, or the test ends.
func join(t testing.TB, c *zookeeper.Client, n registry.Name, m registry.Member) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Join(ctx, n, m); err != nil {
			t.Errorf("join %s: %v", n, err)
		}
	})
	leave = func() { cancel(); running.Wait() }
	t.Cleanup(leave)
	return leave
}

// raw is go-zookeeper as it is, to look at what the client has done, and to do what it would not.
func raw(t testing.TB, address string) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect([]string{address}, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// log collects what a client logs.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count is how many lines contain all words.
func (l *log) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(strings.Join(l.lines, "\n"))
}

// everybody is the ACL that everything of the Python KingPin has.
var everybody = zk.WorldACL(zk.PermAll)
