package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrPoker says that the poker died, or was ended by a stop, before it answered: the ops were done in part, or not at
// all, and the rest will not be. errors.Is(ErrPoker, unix.EPIPE) holds.
var ErrPoker = fmt.Errorf("the poker is gone: %w", unix.EPIPE)

// Poker is the server's side of the poker process. Its methods may be called concurrently, but not from a handler of a
// FUSE request, nor under a lock that one takes: the poker's calls wait for handlers.
type Poker struct {
	conn   *os.File
	thread atomic.Uint32

	// turn holds a token while a request is with the poker, so the socket never holds more than one and no write to it
	// blocks. Whoever finishes the request takes the token out, even if the caller has left meanwhile.
	turn    chan struct{}
	stopped chan struct{} // closed: there will be no poker any more

	mu      sync.Mutex
	lastID  uint64
	pending *request
}

type request struct {
	id   uint64
	done chan answer // holds one
}

type answer struct {
	results []unix.Errno
	err     error
}

func newPoker(conn *os.File, incarnation, thread uint32) (*Poker, error) {
	p := &Poker{
		conn:    conn,
		turn:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		lastID:  uint64(incarnation) << 32,
	}
	return p, p.changed(thread)
}

// Thread is the thread that does the poker's system calls, as the kernel shows it in request headers; 0 while the keeper
// cannot start a poker. It is never behind: a new poker makes no call before the server knows it.
func (p *Poker) Thread() uint32 { return p.thread.Load() }

// Is says whether a request whose header names this thread comes from the poker. The kernel shows thread 0 in requests of
// its own and in those of foreign pid namespaces: these never do.
func (p *Poker) Is(thread uint32) bool { return thread != 0 && thread == p.thread.Load() }

// Do has the poker perform ops in order and returns one result for each, 0 for success. Ops of concurrent calls may come
// in between. With an error, the results are those of the first ops, and of the others it is not known whether they were
// done: ErrPoker, after which the caller may ask again since the keeper starts another poker, or the error of ctx.
func (p *Poker) Do(ctx context.Context, ops []Op) ([]unix.Errno, error) {
	results := make([]unix.Errno, 0, len(ops))
	for len(results) < len(ops) {
		next, err := p.ask(ctx, ops[len(results):])
		results = append(results, next...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// ask has as many of ops done as fit into one message.
func (p *Poker) ask(ctx context.Context, ops []Op) ([]unix.Errno, error) {
	select {
	case p.turn <- struct{}{}:
	case <-p.stopped:
		return nil, ErrPoker
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	r, n, err := p.submit(ops)
	if err != nil {
		<-p.turn
		return nil, err
	}
	select {
	case a := <-r.done:
		if a.err == nil && len(a.results) != n {
			return nil, fmt.Errorf("poker answered %d of %d ops: %w", len(a.results), n, unix.EBADMSG)
		}
		return a.results, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *Poker) submit(ops []Op) (*request, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
		return nil, 0, ErrPoker
	default:
	}
	msg, n, err := encode(p.lastID+1, ops)
	if err != nil {
		return nil, 0, err
	}
	if _, err := p.conn.Write(msg); err != nil {
		return nil, 0, errors.Join(ErrPoker, err)
	}
	p.lastID++
	p.pending = &request{id: p.lastID, done: make(chan answer, 1)}
	return p.pending, n, nil
}

// changed takes note of another poker. It is told of last in the socket, so it skips every request before; the one that
// was pending is lost.
func (p *Poker) changed(thread uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(answer{err: ErrPoker})
	p.thread.Store(thread)
	if _, err := p.conn.Write(welcome(thread)); err != nil {
		return fmt.Errorf("welcome poker %d: %w", thread, err)
	}
	return nil
}

// stop ends every Do, now and later.
func (p *Poker) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
	default:
		close(p.stopped)
	}
	p.finish(answer{err: ErrPoker})
}

// finish answers the pending request. The caller holds mu.
func (p *Poker) finish(a answer) {
	if p.pending == nil {
		return
	}
	p.pending.done <- a
	p.pending = nil
	<-p.turn
}

// listen hands answers to their callers until the socket is closed.
func (p *Poker) listen() {
	defer p.stop()
	buf := make([]byte, maxMessage)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		id, results, err := decodeAnswer(buf[:n])
		p.mu.Lock()
		if err == nil && p.pending != nil && p.pending.id == id { // others are answers to a server before this one
			p.finish(answer{results: results})
		}
		p.mu.Unlock()
	}
}
