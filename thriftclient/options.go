package thriftclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// Options says how a pool behaves. The zero value works; each field says what it means then. A negative duration switches off
// what the duration is for.
type Options struct {
	// Dir is where names are looked up that are no paths: a mount, any directory with serverset/ in it, or one with the files
	// themselves, as tests have it. Default: $KINGPIN_MOUNT or /var/kingpin, and while that does not answer, files/ in
	// $KINGPIN_STATE or /var/lib/kingpin.
	Dir string
	// Fallback are the endpoints to use until the source has said its first good set. Default: none.
	Fallback []string
	// Hold is for how long a file that has collapsed (from 5 hosts or more to less than a half) must stay so until it is
	// believed. The monitor has held it back before; this is for plain files. Default: 1 minute. Negative: believe at once.
	Hold time.Duration

	// Transport is how messages are cut: Buffered (the default), Framed or Header.
	Transport Transport
	// Protocol is how they are written: Binary (the default) or Compact.
	Protocol Protocol
	// Service is the name of the service behind a TMultiplexedProcessor. Default: not multiplexed.
	Service string
	// TLS is the configuration for connections. Without a ServerName, that of the endpoint is used. Default: no TLS.
	TLS *tls.Config
	// TLSFiles are certificates in files, read again whenever they change. They complete TLS. Default: none.
	TLSFiles *TLSFiles
	// Configuration bounds messages and frames, and has what else Thrift wants to know. Its timeouts are not used. Default:
	// Thrift's own, 100 MiB a message.
	Configuration *thrift.TConfiguration
	// Dial makes a connection to an endpoint. Default: TCP.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)

	// Timeout bounds a call with all its attempts, as does the deadline of its context: the earlier one counts. Default: 5 s.
	Timeout time.Duration
	// ConnectTimeout bounds the making of a connection, TLS included. Default: 500 ms.
	ConnectTimeout time.Duration
	// CallTimeout bounds one attempt, from the choice of a host to its answer. Default: a method that may not be sent twice has
	// all the time there is; the attempts of an idempotent one have a half of what is left, the last one all of it.
	CallTimeout time.Duration

	// Idempotent are the methods that may be sent twice; "*" is all of them. Default: none.
	Idempotent []string
	// Attempts is how often an idempotent call may be sent. What has not been sent is not counted. Default: 3.
	Attempts int
	// Hedge sends an idempotent call to a second host if the first has not answered when 95 of 100 have. Default: off.
	Hedge bool

	// Balance is the rule of choice: LeastLoaded (the default), Random or RoundRobin.
	Balance Balance
	// Subset bounds how many of the hosts are used: always the same ones, by ClientID. Default: 0, all of them.
	Subset int
	// ClientID tells this client from others that choose a subset. Default: the name of the machine and the process's id.
	ClientID string
	// SlowStart is for how long a new host, or one that is back, gets less than its share. Default: 10 s.
	SlowStart time.Duration
	// Ejection says when a host is left alone.
	Ejection Ejection

	// MaxPerHost bounds the connections to one host, those being made included. Default: 8.
	MaxPerHost int
	// Warm is how many connections to each host are kept ready. Default: 1. Negative: none.
	Warm int
	// IdleTimeout closes a connection that was not used for so long, give or take a tenth. Default: 1 minute.
	IdleTimeout time.Duration
	// MaxAge closes a connection that is so old, give or take a tenth, when its call is over. Default: 10 minutes.
	MaxAge time.Duration

	// Metrics hears of every call. Default: nobody.
	Metrics Metrics
	// Logger is told when a host is ejected or comes back, and when the source fails. Default: nobody.
	Logger *slog.Logger
	// Middleware wraps a call with all its attempts, the first one outermost. Default: none.
	Middleware []thrift.ClientMiddleware
}

// Ejection says when a host that fails is left alone, and for how long.
type Ejection struct {
	// Failures in a row, of connections or of calls, eject a host. Default: 5. Negative: never.
	Failures int
	// Below ejects a host whose share of successes, of at least 20 calls in 10 s, is so much below that of the others.
	// Default: 0.3. Negative: never.
	Below float64
	// Share is how many of the hosts may be ejected at a time, at most. A single host never is. Default: 0.5.
	Share float64
	// Panic: when less than this share of the hosts is left, ejection is ignored, since it is more likely that we are wrong
	// than that all of them are. Default: 0.3. Negative: never.
	Panic float64
	// Base is how long the first ejection lasts, give or take a fifth; each further one twice as long, up to Max. Default: 1 s.
	Base time.Duration
	// Max is how long an ejection lasts at most. Default: 1 minute.
	Max time.Duration
}

// complete fills in what was not said, and refuses what makes no sense.
func (o Options) complete() (Options, error) {
	o.Hold = cmp.Or(o.Hold, time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 500*time.Millisecond)
	o.SlowStart = cmp.Or(o.SlowStart, 10*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, time.Minute)
	o.MaxAge = cmp.Or(o.MaxAge, 10*time.Minute)
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.MaxPerHost = cmp.Or(o.MaxPerHost, 8)
	o.Warm = cmp.Or(o.Warm, 1)
	o.Ejection.Failures = cmp.Or(o.Ejection.Failures, 5)
	o.Ejection.Below = cmp.Or(o.Ejection.Below, 0.3)
	o.Ejection.Share = cmp.Or(o.Ejection.Share, 0.5)
	o.Ejection.Panic = cmp.Or(o.Ejection.Panic, 0.3)
	o.Ejection.Base = cmp.Or(o.Ejection.Base, time.Second)
	o.Ejection.Max = cmp.Or(o.Ejection.Max, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Dial == nil {
		var dialer net.Dialer
		o.Dial = func(ctx context.Context, endpoint string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", endpoint)
		}
	}
	if o.ClientID == "" {
		host, _ := os.Hostname() // without one, the process's id alone tells us from others
		o.ClientID = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	switch {
	case o.Attempts < 1:
		return o, errors.New("thriftclient: Attempts is negative")
	case o.MaxPerHost < 1:
		return o, errors.New("thriftclient: MaxPerHost is negative")
	case o.Subset < 0:
		return o, errors.New("thriftclient: Subset is negative")
	case o.Ejection.Share < 0 || o.Ejection.Share > 1:
		return o, errors.New("thriftclient: Ejection.Share is not between 0 and 1")
	case o.Ejection.Base < 0 || o.Ejection.Max < o.Ejection.Base:
		return o, errors.New("thriftclient: Ejection.Max is less than Ejection.Base, or that is negative")
	case !o.Transport.valid() || !o.Protocol.valid() || !o.Balance.valid():
		return o, errors.New("thriftclient: no such Transport, Protocol or Balance")
	}
	return o, nil
}

// idempotent is the methods that may be sent twice, as a set.
func (o Options) idempotent() (methods map[string]bool, all bool) {
	methods = make(map[string]bool, len(o.Idempotent))
	for _, m := range o.Idempotent {
		methods[m] = true
	}
	return methods, slices.Contains(o.Idempotent, "*")
}
