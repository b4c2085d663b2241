package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// side is one of the two neighbours that may be away.
type side int

const (
	registrySide side = iota
	bodiesSide
	sides
)

// String is what an operator calls it.
func (s side) String() string {
	if s == registrySide {
		return "registry"
	}
	return "store of bodies"
}

// probeTimeout is after how long a neighbour that does not answer counts as away.
const probeTimeout = 5 * time.Second

// errSilent is the trouble of a neighbour that was not heard of since the start.
var errSilent = fmt.Errorf("not heard of since the start: %w", registry.ErrUnreachable)

// health remembers which neighbours are away, from what everybody's calls came to. What is away, or suspected to be, is probed;
// what is not is left alone.
type health struct {
	log  *slog.Logger
	wake chan struct{} // holds one token while there may be somebody to probe
	now  chan struct{} // holds one token while somebody wants the next probe at once
	calm atomic.Bool   // there is nobody: the usual case, without the lock

	losses atomic.Int64 // how often the registry was lost, or may have been

	touched [sides]atomic.Pointer[time.Time] // when each was heard of or asked in vain; nil: never
	inquiry [sides]chan struct{}             // holds one token while Reach asks

	mu        sync.Mutex
	away      [sides]error // wraps ErrUnreachable; nil: not away
	since     [sides]time.Time
	suspected [sides]bool
}

func newHealth(log *slog.Logger) *health {
	h := &health{log: log, wake: make(chan struct{}, 1), now: make(chan struct{}, 1)}
	for s := range sides {
		h.inquiry[s] = make(chan struct{}, 1)
	}
	for s := range sides { // a writer must not be let in before anybody would take what he writes, nor an operator be told that all is well
		h.away[s], h.since[s] = errSilent, time.Now()
	}
	h.wake <- struct{}{}
	return h
}

// reached notes that a call came back, with whatever answer. It says whether that is news.
func (h *health) reached(s side) (back bool) {
	defer h.touch(s) // at last: whoever finds it fresh relies on what is noted here
	if h.calm.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.away[s]
	h.away[s], h.suspected[s] = nil, false
	h.calm.Store(h.away == [sides]error{} && h.suspected == [sides]bool{})
	if err != nil && !errors.Is(err, errSilent) {
		h.log.Info(s.String()+" is back", "after", time.Since(h.since[s]).Round(time.Millisecond))
	}
	return err != nil
}

// failed notes that nobody answered a call.
func (h *health) failed(s side, err error) {
	if !errors.Is(err, registry.ErrUnreachable) {
		err = fmt.Errorf("%w: %w", err, registry.ErrUnreachable)
	}
	h.mu.Lock()
	before := h.away[s]
	if before == nil {
		h.since[s] = time.Now()
		if s == registrySide {
			h.losses.Add(1)
		}
	}
	h.away[s] = err
	h.calm.Store(false)
	h.mu.Unlock()
	if before == nil || errors.Is(before, errSilent) {
		h.log.Warn(s.String()+" is away; reads go on, writes are refused until it is back", "error", err)
	}
	signal(h.wake)
}

// suspect notes that a call took too long, which may be its own fault: it is for the probe to say.
func (h *health) suspect(s side) {
	h.mu.Lock()
	h.suspected[s] = true
	h.calm.Store(false)
	h.mu.Unlock()
	signal(h.wake)
}

func signal(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default: // it is there already
	}
}

// trouble is why s is away and since when; nil if it is not.
func (h *health) trouble(s side) (since time.Time, err error) {
	if h.calm.Load() {
		return time.Time{}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since[s], h.away[s]
}

// lost is why s is away, nil if it is not or was not asked yet: there is no use in asking it now, the probe does.
func (h *health) lost(s side) error {
	_, err := h.trouble(s)
	if errors.Is(err, errSilent) {
		return nil
	}
	return err
}

func (h *health) doubtful(s side) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.away[s] != nil || h.suspected[s]
}

// Writable says why a write would fail now, or nil: the registry or the store of bodies is away. It asks nobody.
func (m *Mirror) Writable() error {
	for s := range sides {
		since, err := m.health.trouble(s)
		if err != nil {
			return fmt.Errorf("the %s has been away for %s: %w", s, time.Since(since).Round(time.Second), err)
		}
	}
	return nil
}

// probe asks what is away whether it is back.
func (m *Mirror) probe(ctx context.Context) {
	for {
		select {
		case <-m.health.wake:
		case <-ctx.Done():
			return
		}
		started := time.Now()
		for failures := 1; !m.health.calm.Load(); failures++ {
			m.probeOnce(ctx)
			if m.health.calm.Load() {
				break
			}
			select {
			case <-time.After(probePause(failures, time.Since(started))):
			case <-m.health.now:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *Mirror) probeOnce(ctx context.Context) {
	for s := range sides {
		if !m.health.doubtful(s) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := m.call(ctx, s)
		cancel()
		m.outcome(s, err)
	}
}

// call asks s for something small. Any answer will do, that there is no such thing too.
func (m *Mirror) call(ctx context.Context, s side) (err error) {
	pointer := registry.DeciderName.Pointer()
	if s == registrySide {
		_, err = m.registry.State(ctx, pointer)
	} else {
		_, err = m.bodies.Fetch(ctx, pointer.IndexKey())
	}
	return err
}

// outcome notes what a small call of our own came to, whose deadline is long enough to tell that nobody answers. The first answer
// of who was away has everything tried again that failed meanwhile.
func (m *Mirror) outcome(s side, err error) {
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, registry.ErrUnreachable), timedOut(err):
		m.health.failed(s, err)
	default:
		if m.health.reached(s) {
			m.retryFailed()
			signal(m.health.now) // the other one may be back too
		}
	}
}

// answered notes what a call came to that was large, or had somebody else's deadline: if it took too long, that may be why.
func (m *Mirror) answered(s side, err error) {
	if timedOut(err) && !errors.Is(err, registry.ErrUnreachable) {
		m.health.suspect(s)
		return
	}
	m.outcome(s, err)
}

func timedOut(err error) bool {
	return errors.Is(err, registry.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// inTime gives the end of a deadline its name among our errors.
func inTime(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, registry.ErrTimeout) {
		return fmt.Errorf("%w: %w", registry.ErrTimeout, err)
	}
	return err
}
