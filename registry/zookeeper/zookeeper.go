// Package zookeeper keeps pointers, members and dependencies in a ZooKeeper ensemble, in the layout of the Python KingPin.
//
// It shields its callers from what an ensemble and go-zookeeper do on bad days. A Client is never told to connect and never
// gives up: one goroutine of it holds one connection after the other, with full jitter in between, to addresses that it looks up
// again in each round. go-zookeeper gets each connection when it is already greeted (see greet), keeps it until it breaks, and
// is then thrown away: it would lose watches while it reconnects, since it asks for them relative to a zxid that may
// already be newer, and only logs when that fails. The session lives on from one to the next.
//
// Invariants:
//   - Every call ends with its ctx. What a call leaves behind ends with the connection, and a connection that leaves a call
//     unanswered is dropped.
//   - A node is watched once per connection, however many feeds it has. A node is armed if a change of it after the
//     present value will be heard of; every other node with a feed is read, or waits to be read.
//   - A value is never replaced by one that the ensemble had earlier, nor by that of another ensemble (see judge).
//   - What this client has made for its session only (members, places in the queue for a lock) is removed when it is no
//     longer wanted, if not at once, then as soon as there is a connection, or by the end of the session.
//
// Locks: a pointer's turn (Advance), then Client.mu or link.mu, then nothing. No I/O happens under a mutex.
package zookeeper

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// Options of Open. The zero value is usable.
type Options struct {
	// Logger hears of each change of the connection's state, and of what was found in the ensemble and ignored. Default:
	// nobody.
	Logger *slog.Logger

	// SessionTimeout is how long the ensemble remembers our members when it hears nothing of us. It may grant another. Default:
	// 16 s, as the Python KingPin.
	SessionTimeout time.Duration

	// Auth is who we are to the ensemble, user:password in its digest scheme. Default: nobody.
	Auth string

	// ACL is put on what we create. Default: anybody may do anything; with Auth, only we may, and anybody may read.
	ACL []ACL

	// TLS makes connections to the ensemble's secure port. Without a ServerName the host's name in the list of servers is what
	// its certificate must be for. Default: no TLS.
	TLS *tls.Config

	// NoPythonLock publishes without the lock that Python publishers take. Nothing is lost if all publishers are ours, but
	// two that publish one name at the same time may write its index in the wrong order. Default: the lock is taken.
	NoPythonLock bool

	// LockTimeout is how long a publisher waits behind others for the lock, if its ctx lets it. Default: 10 s.
	LockTimeout time.Duration

	// MaxBackoff is the longest pause before another attempt to connect, unless the ensemble has been away for so long that a
	// tenth of that is longer. Default: 3 s, or a quarter of SessionTimeout if that is shorter.
	MaxBackoff time.Duration

	// Seen is what Client.Ensemble has returned last time. Updates are not applied if it is not the same ensemble, or has gone
	// back in time. Default: any ensemble will do.
	Seen Ensemble

	// Begun is told of each session before it is used. Default: nobody is.
	Begun func(Session)

	// Dial connects to an address. Default: that of net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Lookup finds the addresses of a host. Default: that of net.Resolver.
	Lookup func(ctx context.Context, host string) ([]string, error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SessionTimeout <= 0 {
		o.SessionTimeout = 16 * time.Second
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = 10 * time.Second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = min(3*time.Second, o.SessionTimeout/4)
	}
	if len(o.ACL) == 0 {
		o.ACL = []ACL{{Permissions: "cdrwa", Scheme: "world", ID: "anyone"}}
		if o.Auth != "" {
			o.ACL = []ACL{{Permissions: "cdrwa", Scheme: "auth"}, {Permissions: "r", Scheme: "world", ID: "anyone"}}
		}
	}
	if o.Begun == nil {
		o.Begun = func(Session) {}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	return o
}

// ACL is one entry of an access control list.
type ACL struct {
	Permissions string // of c(reate) d(elete) r(ead) w(rite) a(dmin)
	Scheme, ID  string // world:anyone, auth: (whoever creates), digest:user:BASE64, ip:10.0.0.0/8
}

func parseACL(acl []ACL) ([]zk.ACL, error) {
	bits := map[rune]int32{'c': zk.PermCreate, 'd': zk.PermDelete, 'r': zk.PermRead, 'w': zk.PermWrite, 'a': zk.PermAdmin}
	var parsed []zk.ACL
	for _, a := range acl {
		entry := zk.ACL{Scheme: a.Scheme, ID: a.ID}
		for _, p := range a.Permissions {
			if bits[p] == 0 {
				return nil, fmt.Errorf("ACL permissions %q are not letters of cdrwa: %w", a.Permissions, registry.ErrInvalid)
			}
			entry.Perms |= bits[p]
		}
		parsed = append(parsed, entry)
	}
	return parsed, nil
}

// ReadAuth reads Options.Auth from a file of one line.
func ReadAuth(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	auth := strings.TrimSpace(string(data))
	return auth, checkAuth(auth)
}

func checkAuth(auth string) error {
	if user, _, ok := strings.Cut(auth, ":"); !ok || user == "" || strings.ContainsAny(auth, "\r\n") {
		return fmt.Errorf("ZooKeeper credentials are not one line user:password: %w", registry.ErrInvalid) // the password is not for the log
	}
	return nil
}

// Client is a registry in an ensemble. Its methods may be called from any goroutine.
type Client struct {
	options Options
	servers []server
	chroot  string // "" or a path
	acl     []zk.ACL

	stop    context.CancelFunc
	running sync.WaitGroup
	closing chan struct{} // closed by Close
	wake    chan struct{} // the queue is not empty

	zxid    atomic.Int64 // how far the ensemble has got
	ignored atomic.Int64
	reads   atomic.Int64

	mu          sync.Mutex
	closed      bool
	bequeathed  bool
	link        *link         // the present connection; nil: none
	trouble     error         // why there is none
	changed     chan struct{} // closed when the connection's state changes
	since       time.Time     // of that state
	session     session
	sessions    int64 // so far
	connections int64
	reconnects  map[string]int64
	limit       int      // bytes of a message that a connection takes
	unrestored  int      // connections in a row that broke while they restored watches
	served      int64    // session of the last connection that was up
	ensemble    Ensemble // that of last time; its Zxid is in zxid, its Latest in the nodes
	judged      chan struct{}
	suspected   time.Time
	regressed   bool
	accepted    *Ensemble
	nodes       map[key]*node
	feeds       int
	queue       []*node
	bells       map[string]*bell
	watchers    map[*watcher]struct{}
	turns       map[registry.Pointer]*turn
	joined      map[string]bool // paths of members
	debts       []*debt
	owed        chan struct{}
}

// session is what the ensemble knows us by. It outlives connections.
type session struct {
	id       int64 // 0: none
	password []byte
	timeout  time.Duration
}

// Open returns a client of the ensemble at servers, a list of host:port with an optional chroot behind the last one:
// zk1:2181,zk2:2181/kingpin. It does not wait for the ensemble. ErrInvalid if servers or options cannot be understood.
func Open(servers string, o Options) (*Client, error) {
	hosts, chroot, err := parseServers(servers)
	if err != nil {
		return nil, err
	}
	if o.Auth != "" {
		if err := checkAuth(o.Auth); err != nil {
			return nil, err
		}
	}
	o = o.withDefaults()
	acl, err := parseACL(o.ACL)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		options:    o,
		servers:    hosts,
		chroot:     chroot,
		acl:        acl,
		stop:       stop,
		closing:    make(chan struct{}),
		wake:       make(chan struct{}, 1),
		owed:       make(chan struct{}, 1),
		changed:    make(chan struct{}),
		judged:     make(chan struct{}, 1),
		since:      time.Now(),
		reconnects: make(map[string]int64),
		limit:      firstLimit,
		ensemble:   o.Seen,
		nodes:      make(map[key]*node),
		bells:      make(map[string]*bell),
		watchers:   make(map[*watcher]struct{}),
		turns:      make(map[registry.Pointer]*turn),
		joined:     make(map[string]bool),
	}
	c.zxid.Store(o.Seen.Zxid)
	c.running.Go(func() { c.run(ctx) })
	return c, nil
}

// Close ends the session, and with it the members, and waits for everything that it has started. Feeds yield ErrClosed, other
// methods return it.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
		c.changedLocked()
	}
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
	return nil
}

// path is where the ensemble keeps a pointer.
func (c *Client) path(p registry.Pointer) string { return c.chroot + string(p) }
