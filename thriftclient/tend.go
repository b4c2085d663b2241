package thriftclient

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jackc/puddle/v2"
)

const (
	look    = time.Second // between two looks at all hosts
	dialers = 16          // connections that are made at a time to be kept ready
)

// tend does what no call should wait for: it makes connections to be kept ready, closes what is idle for too long, and looks
// whether ejected hosts are back.
func (p *Pool) tend(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	places := make(chan struct{}, dialers)
	sweepEvery := p.options.IdleTimeout / 4
	var rated, swept instant
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		}
		now := p.now()
		if now-rated >= instant(look) {
			rated = now
			for _, h := range p.eject.rate(now) {
				if p.eject.eject(h, now) {
					p.ejected(h, errors.New("it fails far more often than the others"))
				}
			}
		}
		if p.options.IdleTimeout > 0 && now-swept >= instant(sweepEvery) {
			swept = now
			for _, c := range p.set.Load().all {
				c.host.sweep(time.Now(), p.options.IdleTimeout, p.options.Warm)
			}
		}
		next := p.revive(ctx, now, places)
		p.warm(ctx, now, places)
		wait := jitter(look, 0.1)
		if next != 0 {
			wait = min(wait, max(time.Duration(next-now), time.Millisecond))
		}
		timer.Reset(wait)
	}
}

// revive tries to connect to the hosts whose ejection is over. One that lets itself be connected to is given one call to prove
// itself.
func (p *Pool) revive(ctx context.Context, now instant, places chan struct{}) (next instant) {
	over, next := p.eject.expired(now)
	for _, h := range over {
		p.background(places, func() (more bool) {
			err := h.pool.CreateResource(ctx)
			full := errors.Is(err, puddle.ErrNotAvailable) // it has connections, be they good or bad: a call will show
			p.eject.reached(h, err == nil || full, p.now())
			return true
		})
	}
	return next
}

// warm makes connections to hosts that have too few.
func (p *Pool) warm(ctx context.Context, now instant, places chan struct{}) {
	for _, c := range p.set.Load().all {
		h := c.host
		if p.options.Warm <= 0 || !h.health.in() || h.health.suspect(now) || int(h.pool.Stat().TotalResources()) >= p.options.Warm {
			continue
		}
		if h.warming.Swap(true) {
			continue
		}
		begun := p.background(places, func() (more bool) {
			defer h.warming.Store(false)
			return h.pool.CreateResource(ctx) == nil // else connect has taken note of what is wrong
		})
		if !begun {
			h.warming.Store(false)
			return
		}
	}
}

// background does something if not too much is being done already; else the next look will find it undone. That is at once if there may be
// more to do.
func (p *Pool) background(places chan struct{}, work func() (more bool)) (begun bool) {
	select {
	case places <- struct{}{}:
		p.tasks.Go(func() {
			more := work()
			<-places
			if more {
				p.rouse()
			}
		})
		return true
	default:
		return false
	}
}

// connect makes a connection to h, and takes note of a host to which that is not possible.
func (p *Pool) connect(ctx context.Context, h *host) (*connection, error) {
	start := time.Now()
	dialling := ctx
	if p.options.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		dialling, cancel = context.WithTimeout(ctx, p.options.ConnectTimeout)
		defer cancel()
	}
	c, err := p.dial(dialling, h.endpoint)
	if err != nil && ctx.Err() != nil {
		return nil, ErrClosed // or removed: nobody's fault
	}
	p.metrics.Observe(Event{Kind: Dialled, Host: h.endpoint, Took: time.Since(start), Err: err})
	if err != nil {
		p.failed(h, err)
	}
	return c, err
}

func (p *Pool) dial(ctx context.Context, endpoint string) (*connection, error) {
	raw, err := p.options.Dial(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	conn := raw
	configuration, err := p.tls()
	if err == nil && configuration != nil {
		conn, err = handshake(ctx, raw, endpoint, configuration)
	}
	if err != nil {
		return nil, errors.Join(err, discard(raw))
	}
	return newConnection(conn, raw, p.codec, p.options.MaxAge), nil
}

// discard closes a connection whose other errors matter more.
func discard(c net.Conn) error {
	_ = c.Close()
	return nil
}

// failed takes note of a failure of a host.
func (p *Pool) failed(h *host, err error) {
	now := p.now()
	if p.eject.failed(h, h.health.fail(now), now) {
		p.ejected(h, err)
	}
}

func (p *Pool) ejected(h *host, err error) {
	p.options.Logger.Warn("host ejected", "host", h.endpoint, "err", err)
	p.metrics.Observe(Event{Kind: Ejected, Host: h.endpoint, Err: err})
	h.abandon()
	p.rouse()
}

func (p *Pool) readmitted(h *host) {
	p.options.Logger.Info("host is back", "host", h.endpoint)
	p.metrics.Observe(Event{Kind: Readmitted, Host: h.endpoint})
}
