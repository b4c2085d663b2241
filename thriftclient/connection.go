package thriftclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// fresh is for how long an idle connection is believed to be open without a look.
const fresh = time.Millisecond

// connection is one to a server. It belongs to one call at a time.
type connection struct {
	wire     wire
	buffer   *thrift.TBufferedTransport
	in, out  thrift.TProtocol
	header   *thrift.THeaderProtocol // nil unless THeader
	peek     *peek
	secure   bool
	sequence int32
	expires  time.Time // zero: never
	used     time.Time
	stopped  atomic.Bool
	stop     func() // interrupts whatever it waits for, for good
}

// ending is how an attempt went, in the one respect that matters: what may be done next.
type ending int

const (
	answered   ending = iota // by a reply, or by an exception that leaves the stream clean
	unsent                   // not a byte has left
	broken                   // it may have been executed
	late                     // the time of the attempt is over
	cancelled                // the caller's context is
	unwritable               // the request cannot be put into bytes: no other host will do better
)

// newConnection speaks the codec over conn, which may be TLS over raw.
func newConnection(conn, raw net.Conn, c *codec, maxAge time.Duration) *connection {
	connected := &connection{wire: wire{Conn: conn}, peek: newPeek(raw), secure: conn != raw, used: time.Now()}
	connected.in, connected.out, connected.header = c.over(&connected.wire, &connected.buffer)
	if maxAge > 0 {
		connected.expires = connected.used.Add(jitter(maxAge, 0.1))
	}
	connected.stop = connected.interrupt
	return connected
}

// jitter is d, give or take a share of it.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 - share + 2*share*rand.Float64()))
}

// interrupt ends what the connection waits for, and everything that it will wait for.
func (c *connection) interrupt() {
	c.stopped.Store(true)
	c.wire.SetDeadline(time.Unix(1, 0)) // an error means that it is closed, which does as well
}

func (c *connection) close() { c.wire.Close() }

// usable looks whether the server has closed the connection while nobody used it.
func (c *connection) usable() bool {
	open, unread := c.peek.alive()
	return open && (c.secure || !unread) // between requests TLS may have something to say, Thrift has not
}

func (c *connection) expired(now time.Time) bool { return !c.expires.IsZero() && now.After(c.expires) }

// ready prepares it for a call that ends at the deadline. It says no if the connection has been closed meanwhile.
func (c *connection) ready(now, deadline time.Time) bool {
	c.wire.sent, c.wire.failed = false, nil
	if c.wire.SetDeadline(deadline) != nil || c.stopped.Load() {
		return false
	}
	return now.Sub(c.used) <= fresh || c.usable()
}

// exchange sends one request and waits for its answer. Unless it is answered, the connection must not be used again: what comes
// later is the answer to something else.
func (c *connection) exchange(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, ending, error) {
	c.sequence++
	if err := c.send(ctx, method, args); err != nil {
		return thrift.ResponseMeta{}, c.ending(ctx, unwritable), c.reason(err)
	}
	if result == nil { // oneway
		return thrift.ResponseMeta{}, answered, nil
	}
	err, clean := c.receive(ctx, method, result)
	if !clean {
		return thrift.ResponseMeta{}, c.ending(ctx, broken), c.reason(err)
	}
	if c.header != nil {
		return thrift.ResponseMeta{Headers: c.header.GetReadHeaders()}, answered, err
	}
	return thrift.ResponseMeta{}, answered, err
}

func (c *connection) send(ctx context.Context, method string, args thrift.TStruct) error {
	if c.header != nil {
		setHeaders(ctx, c.header)
	}
	if err := c.out.WriteMessageBegin(ctx, method, thrift.CALL, c.sequence); err != nil {
		return err
	}
	if err := args.Write(ctx, c.out); err != nil {
		return err
	}
	if err := c.out.WriteMessageEnd(ctx); err != nil {
		return err
	}
	return c.out.Flush(ctx)
}

// receive reads the answer. It is clean if all of it was read, and nothing else came with it: an error then is what the server
// had to say.
func (c *connection) receive(ctx context.Context, method string, result thrift.TStruct) (err error, clean bool) {
	name, kind, sequence, err := c.in.ReadMessageBegin(ctx)
	switch {
	case err != nil:
		return err, false
	case sequence != c.sequence:
		return fmt.Errorf("answer %d to request %d: %w", sequence, c.sequence, errConfused), false
	case name != method:
		return fmt.Errorf("answer of %q to %q: %w", name, method, errConfused), false
	case kind != thrift.REPLY && kind != thrift.EXCEPTION:
		return fmt.Errorf("answer of message type %d: %w", kind, errConfused), false
	}
	var exception thrift.TApplicationException
	if kind == thrift.EXCEPTION {
		exception = thrift.NewTApplicationException(thrift.UNKNOWN_APPLICATION_EXCEPTION, "")
		err = exception.Read(ctx, c.in)
	} else {
		err = result.Read(ctx, c.in)
	}
	if err != nil {
		return err, false
	}
	if err := c.in.ReadMessageEnd(ctx); err != nil {
		return err, false
	}
	if c.leftover() {
		// The answer itself is good. What is behind it is not, and the connection is not used again.
		c.stopped.Store(true)
	}
	if exception != nil {
		return exception, true
	}
	return nil, true
}

// leftover says whether there is something behind the answer, in its frame or behind that. THeader does not let one see behind its frames: there
// the next call finds it out of step.
func (c *connection) leftover() bool {
	if c.buffer.Reader.Buffered() > 0 {
		return true
	}
	n := c.in.Transport().RemainingBytes()
	return n > 0 && n != thrift.UnknownRemainingBytes // there is no frame
}

// errConfused: this is not the answer to our request.
var errConfused = errors.New("out of step")

// ending finds out why the present call failed; otherwise is the answer if the connection has not.
func (c *connection) ending(ctx context.Context, otherwise ending) ending {
	switch {
	case c.stopped.Load() && ctx.Err() == nil, errors.Is(ctx.Err(), context.Canceled):
		return cancelled
	case c.wire.failed == nil:
		return otherwise
	case errors.Is(c.wire.failed, os.ErrDeadlineExceeded):
		return late
	case !c.wire.sent:
		return unsent
	}
	return broken
}

// reason prefers what the connection said to what Thrift made of it.
func (c *connection) reason(err error) error {
	if c.wire.failed != nil {
		return c.wire.failed
	}
	return err
}

// handshake makes TLS of a connection. Without a name in the configuration the server must have that of its endpoint.
func handshake(ctx context.Context, raw net.Conn, endpoint string, configuration *tls.Config) (net.Conn, error) {
	if configuration.ServerName == "" && !configuration.InsecureSkipVerify {
		name, _, err := net.SplitHostPort(endpoint)
		if err != nil {
			return nil, err
		}
		configuration = configuration.Clone()
		configuration.ServerName = name
	}
	secure := tls.Client(raw, configuration)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}
