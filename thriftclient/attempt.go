package thriftclient

import (
	"context"
	"errors"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jackc/puddle/v2"
)

// attempt sends the request to one host, and waits for the answer no longer than the attempt may take. Whatever happens, the
// connection goes back, or is closed if its stream is not known to be clean. The load of the host has counted it already.
func (p *Pool) attempt(ctx context.Context, t *trial, result thrift.TStruct, h *host, start time.Time) (o outcome) {
	var r *puddle.Resource[*connection]
	var end time.Time
	var release func() bool // ctx no longer interrupts the connection; false: it has
	began, reuse := start, false
	o.ending, o.err = broken, errPanicked
	defer func() { // and if generated code panics
		if release != nil {
			release()
		}
		if r != nil {
			o.sent = r.Value().wire.sent
			if reuse {
				r.Release()
			} else {
				r.Destroy()
			}
		}
		if end.IsZero() {
			end = time.Now()
		}
		p.finish(h, t, end, end.Sub(began), result != nil, &o)
	}()
	connected, deadline := t.limits(start, &p.options)
	var err error
	if r, began, err = h.acquire(ctx, start, connected, deadline); err != nil {
		r = nil
		o.ending, o.err = unsent, err
		if ctx.Err() != nil {
			o.ending = cancelled
		}
		return o
	}
	c := r.Value()
	if ctx.Done() != nil {
		release = context.AfterFunc(ctx, c.stop)
	}
	o.meta, o.ending, o.err = c.exchange(ctx, t.method, t.args, result)
	undisturbed := release == nil || release()
	end = time.Now()
	switch o.ending {
	case answered:
		c.used = end
		reuse = undisturbed && !c.expired(end) && !c.stopped.Load()
	case cancelled:
		if o.err = context.Cause(ctx); o.err == nil {
			o.err = ErrClosed // by somebody who would not wait
		}
	case late:
		o.err = errLate(end.Sub(start))
	}
	return o
}

// errPanicked is what the attempt came to when args or result have panicked: nobody sees it but the metrics.
var errPanicked = errors.New("generated code panicked")

// finish takes note of how an attempt went. What asks for no answer, a oneway call, tells nothing of a host when it has been sent; only a host
// that is being tried has to make do with it.
func (p *Pool) finish(h *host, t *trial, end time.Time, took time.Duration, asked bool, o *outcome) {
	now := p.at(end)
	spoke := o.ending == answered && asked
	h.load.end(now, took, spoke)
	switch {
	case spoke && h.health.succeed(), o.ending == answered && h.health.state.Load() == probing:
		if p.eject.probed(h, true, now) {
			p.readmitted(h)
		}
	case o.ending == answered:
	case (o.ending == broken || o.ending == late) && o.sent:
		p.failed(h, o.err)
	case h.health.state.Load() == probing:
		p.eject.probed(h, false, now) // it has proved nothing, unless connect has said so
	}
	if !p.observed {
		return
	}
	p.metrics.Observe(Event{Kind: Attempted, Method: t.method, Host: h.endpoint, Took: took, Err: o.err})
}
