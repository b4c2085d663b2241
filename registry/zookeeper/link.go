package zookeeper

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// farewell is how long the calls on a connection may still take when the client is closed.
const farewell = time.Second

// link is one connection, from its greeting to its loss.
type link struct {
	*wire
	conn    *zk.Conn
	address address
	server  string
	session session
	anew    bool   // the session
	offset  int64  // from zxid to Order, see Ensemble
	root    string // see Ensemble
	freeze  error  // why nothing that it says may be applied
	foreign bool   // it is not even the same ensemble

	mu      sync.Mutex
	retired bool
	calls   sync.WaitGroup
}

// open dials an address and greets the ensemble there. The session is resumed, or begun if there is none or it has expired.
func (c *Client) open(ctx context.Context, a address, s session) (*link, error) {
	l, err := c.greet(ctx, a, s)
	if errors.Is(err, errExpired) {
		c.options.Logger.Debug("zookeeper session expired", "session", sessionName(s.id))
		l, err = c.greet(ctx, a, session{})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.dial, err)
	}
	log := printer{c.options.Logger.With("server", a.dial)}
	if l.conn, err = l.handOver(l.session, c.heard, log); err != nil {
		l.fail(err)
		return nil, fmt.Errorf("%s: %w", a.dial, err)
	}
	return l, nil
}

// greet dials and says all that has to be said before go-zookeeper gets the connection.
func (c *Client) greet(ctx context.Context, a address, s session) (l *link, err error) {
	w, err := c.dial(ctx, a)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("no greeting: %w", expired(ctx))
		}
		if err != nil {
			w.fail(err)
		}
	}()
	defer context.AfterFunc(ctx, func() { w.fail(expired(ctx)) })()
	t := &conversation{to: w.Conn, from: w.from, heard: c.heard}
	granted, answer, err := t.connect(s, c.options.SessionTimeout)
	if err != nil {
		return nil, err
	}
	if granted.id == 0 {
		return nil, errExpired
	}
	w.answer = answer
	l = &link{wire: w, address: a, server: a.dial, session: granted}
	if err := c.introduce(t, l); err != nil {
		return nil, err
	}
	return l, nil
}

// dial connects to an address, encrypted if that is wanted.
func (c *Client) dial(ctx context.Context, a address) (*wire, error) {
	raw, err := c.options.Dial(ctx, "tcp", a.dial)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw, raw: raw, lost: make(chan struct{}), limit: c.bufferLimit()}
	if c.options.TLS != nil {
		config := c.options.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName = a.host
		}
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			w.fail(err)
			if ctx.Err() != nil {
				return nil, fmt.Errorf("no greeting: %w", expired(ctx))
			}
			return nil, err
		}
		w.Conn = secure
	}
	w.from = bufio.NewReader(w.Conn)
	return w, nil
}

// introduce finds out which ensemble this is, and asks for the watches that the last connection had.
func (c *Client) introduce(t *conversation, l *link) error {
	found, forgotten, err := t.ensemble(c.options.Auth, c.path(rootPointer), c.latest())
	if err != nil {
		c.keep(l.session)
		return err
	}
	l.root = found.Root
	if err := c.judge(l, found, forgotten); err != nil {
		return err
	}
	l.passed = func(int64) {}
	if l.freeze != nil {
		return nil
	}
	c.keep(l.session)
	err = t.rewatch(c.armed(l))
	c.restored(err)
	if err != nil {
		return err
	}
	l.passed = c.pass
	c.pass(t.zxid)
	return nil
}

// keep remembers a session before its connection is complete: should it come to nothing, the next one resumes it. An ensemble that
// is in trouble should not have to remember a session for each attempt.
func (c *Client) keep(s session) {
	c.mu.Lock()
	begun := s.id != c.session.id
	if begun {
		c.sessions++
	}
	c.session = s
	c.mu.Unlock()
	if begun {
		c.options.Begun(Session{s.id, s.password})
	}
}

// pass notes that the ensemble has got as far as zxid.
func (c *Client) pass(zxid int64) {
	for last := c.zxid.Load(); last < zxid && !c.zxid.CompareAndSwap(last, zxid); {
		last = c.zxid.Load()
	}
}

// do calls f with go-zookeeper's connection, and returns when ctx is done at the latest. f goes on then until it is answered
// or the connection is lost; what it returns is forgotten. The connection is lost when f takes longer than the session
// may: a server that is so slow is as good as gone. If nobody knows what the ensemble has done, the error wraps errLost, or
// errAbandoned when it was ctx that ended.
func do[T any](ctx context.Context, l *link, f func(*zk.Conn) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil {
		return none, expired(ctx)
	}
	if l.isLost() || !l.begin() {
		return none, answer(errLost)
	}
	done := make(chan result, 1)
	go func() {
		defer l.calls.Done()
		overdue := time.AfterFunc(l.session.timeout, func() { l.fail(errUnanswered) })
		defer overdue.Stop()
		value, err := f(l.conn)
		if isLoss(err) {
			l.fail(err)
		}
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return r.value, answer(r.err)
		}
		return r.value, nil
	case <-l.lost:
		return none, answer(errLost) // f may have to wait a second until it is told
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", errAbandoned, expired(ctx))
	}
}

// begin counts a call; false means that the link takes no more.
func (l *link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.calls.Add(1)
	return true
}

// isLost says whether the connection is broken.
func (l *link) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// retire ends go-zookeeper's connection, and with it the session unless the link is lost. It takes a second or three of waiting.
//
// The calls on it must be over before: go-zookeeper answers one three times that it has not sent yet when it is closed, has room
// for two answers, and waits for ever. When the connection is lost, it answers all of them within a second.
func (l *link) retire() {
	l.mu.Lock()
	l.retired = true
	l.mu.Unlock()
	over := make(chan struct{})
	go func() {
		l.calls.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(farewell):
		l.fail(errUnanswered)
		<-over
	}
	l.conn.Close()
	l.fail(net.ErrClosed)
}

// order is where a change stands among all others.
func (l *link) order(zxid int64) int64 { return l.offset + zxid }

// bufferLimit is how large a message may be.
func (c *Client) bufferLimit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit
}

// printer is go-zookeeper's log.
type printer struct{ logger *slog.Logger }

func (p printer) Printf(format string, args ...any) {
	p.logger.Debug("go-zookeeper: " + fmt.Sprintf(format, args...))
}

func sessionName(id int64) string { return fmt.Sprintf("0x%x", uint64(id)) }
