package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// loop decides what is looked at, and where. It makes no system call on the directories itself.
type loop struct {
	dir     *Dir
	entries map[string][]*entry
	queue   []*entry  // to be looked at; each once, and some of them removed since
	active  int       // the place that counts; -1: none is there
	next    time.Time // when to look without being told
	soon    time.Time // when the first recheck of a file is due; zero if none is
}

func (l *loop) run() {
	d := l.dir
	defer close(d.done)
	defer func() {
		for _, p := range d.places {
			close(p.jobs)
		}
	}()
	l.choose()
	l.next = time.Now().Add(l.pause())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.dispatch(time.Now())
		timer.Reset(time.Until(l.wake()))
		select {
		case <-d.closing:
			return
		case f := <-d.calls:
			f(l)
		case r := <-d.results:
			l.finished(r, time.Now())
		case h := <-d.happenings:
			l.heard(h)
		case <-timer.C:
			l.tick(time.Now())
		}
	}
}

// each calls f for every followed file.
func (l *loop) each(f func(*entry)) {
	for _, entries := range l.entries {
		for _, e := range entries {
			f(e)
		}
	}
}

func (l *loop) want(e *entry, force bool) {
	e.force = e.force || force
	if !e.want && !e.removed {
		e.want = true
		l.queue = append(l.queue, e)
	}
}

// ask wants a file for somebody who waits, and believes what is there.
func (l *loop) ask(e *entry, waiter chan struct{}) {
	e.waiters = append(e.waiters, waiter)
	e.now = true
	l.want(e, true)
	if l.active >= 0 {
		return
	}
	for _, p := range l.dir.places { // it may be there by now
		if p.state == absent {
			p.state = unknown
		}
	}
	l.choose()
}

// choose finds the place that counts: the first that is there. While one that is preferred is not known yet it waits for the answer.
func (l *loop) choose() {
	chosen := -1
	for i, p := range l.dir.places {
		if p.state == unknown {
			p.tend = true
			return
		}
		if p.state == there {
			chosen = i
			break
		}
	}
	if chosen == l.active {
		if chosen < 0 {
			l.unavailable()
		}
		return
	}
	if chosen > 0 {
		first := l.dir.places[0]
		level := slog.LevelWarn
		if errors.Is(first.trouble(), fs.ErrNotExist) { // a machine without a mount
			level = slog.LevelInfo
		}
		l.dir.log.Log(context.Background(), level, "directory is away, its stand-in is followed", "directory", first.dir,
			"error", first.trouble(), "followed", l.dir.places[chosen].dir)
	} else if l.active > 0 {
		l.dir.log.Info("directory is back", "directory", l.dir.places[0].dir)
	}
	l.active = chosen
	l.next = time.Now().Add(l.pause())
	if chosen < 0 {
		l.unavailable()
		return
	}
	l.each(func(e *entry) { l.want(e, true) })
}

// unavailable tells every file that there is no directory.
func (l *loop) unavailable() {
	var all []error
	for _, p := range l.dir.places {
		all = append(all, p.trouble())
	}
	err := errors.Join(all...)
	l.queue = nil
	l.each(func(e *entry) {
		e.wrong(fmt.Errorf("follow %s: %w", e.name, err))
		e.want = false
		release(e.waiters)
		e.waiters = nil
	})
}

func (p *place) trouble() error {
	if p.state == hung {
		return fmt.Errorf("%s does not answer", p.dir)
	}
	return p.err
}

func release(waiters []chan struct{}) {
	for _, w := range waiters {
		close(w)
	}
}

// dispatch gives idle workers their next job.
func (l *loop) dispatch(now time.Time) {
	for i, p := range l.dir.places {
		switch {
		case p.busy:
		case p.tend:
			p.tend = false
			l.give(p, job{}, now)
		case len(p.drops) > 0:
			last := len(p.drops) - 1
			e := p.drops[last]
			p.drops = p.drops[:last]
			l.give(p, job{entry: e, drop: true}, now)
		case i == l.active:
			if e := l.wanted(); e != nil {
				p.waiters, e.waiters = e.waiters, nil
				l.give(p, job{entry: e, name: e.name, limit: e.limit, last: e.last, force: e.force}, now)
			}
		}
	}
}

// wanted is the next file to look at.
func (l *loop) wanted() *entry {
	for len(l.queue) > 0 {
		e := l.queue[0]
		l.queue = l.queue[1:]
		if e.want && !e.removed {
			e.want = false
			return e
		}
	}
	return nil
}

func (l *loop) give(p *place, j job, now time.Time) {
	p.busy, p.since, p.at = true, now, j.entry
	p.jobs <- j // a worker has at most one
}

// finished takes a worker's result.
func (l *loop) finished(r result, now time.Time) {
	p := r.place
	waiters, e := p.waiters, p.at
	p.busy, p.at, p.waiters = false, nil, nil
	if p.state == hung { // what it found is old
		p.state = unknown
		l.choose()
		return
	}
	if r.job.drop {
		return
	}
	if e == nil {
		l.tended(p, r)
		return
	}
	if e.removed {
		release(waiters)
		return
	}
	if r.gone {
		p.state, p.err = absent, r.err
	}
	if l.active < 0 || l.dir.places[l.active] != p || r.gone {
		e.waiters = append(e.waiters, waiters...)
		l.want(e, true)
		l.choose()
		return
	}
	believe := e.now
	if !e.want {
		e.force, e.now = false, false
	}
	e.looked(r.content, r.err, now, believe)
	if !e.recheck.IsZero() && (l.soon.IsZero() || e.recheck.Before(l.soon)) {
		l.soon = e.recheck
	}
	release(waiters)
}

// tended takes the result of a look at a directory.
func (l *loop) tended(p *place, r result) {
	if r.err != nil {
		p.state, p.err = absent, r.err
		l.choose()
		return
	}
	if r.deaf != nil && p.deaf == nil {
		l.dir.log.Warn("no inotify watch, the directory is looked at every second", "directory", p.dir, "error", r.deaf)
	}
	if (p.deaf == nil) != (r.deaf == nil) {
		p.deaf, l.next = r.deaf, time.Now().Add(impatient)
	}
	p.state, p.err = there, nil
	before := l.active
	l.choose()
	if r.rewatched && l.active == before && before >= 0 && l.dir.places[before] == p {
		l.each(func(e *entry) { l.want(e, true) })
	}
}

// heard takes an event of inotify.
func (l *loop) heard(h happening) {
	p, name := h.place, h.event.Name
	if h.overflow {
		l.each(func(e *entry) { l.want(e, true) })
		return
	}
	if name == p.dir && h.event.Has(fsnotify.Remove|fsnotify.Rename) {
		p.tend = true
		return
	}
	if filepath.Dir(name) == p.dir {
		for _, e := range l.entries[filepath.Base(name)] {
			l.want(e, true)
		}
	}
	l.each(func(e *entry) {
		if e.uneasy() {
			l.want(e, true)
		}
	})
}

// tick does what is due.
func (l *loop) tick(now time.Time) {
	l.collect(now)
	for _, p := range l.dir.places {
		if p.busy && p.state != hung && now.Sub(p.since) >= l.dir.patience {
			if late := now.Sub(p.since) - l.dir.patience; late > settle { // so are the workers, perhaps
				p.since = p.since.Add(late + settle)
				continue
			}
			p.state = hung
			if e := p.at; e != nil && !e.removed { // to be looked at elsewhere
				e.waiters, p.waiters = append(e.waiters, p.waiters...), nil
				l.want(e, true)
			}
			l.choose()
		}
	}
	if !l.soon.IsZero() && !now.Before(l.soon) {
		l.recheck(now)
	}
	if now.Before(l.next) {
		return
	}
	l.next = now.Add(l.pause())
	for i, p := range l.dir.places {
		if l.active < 0 || i <= l.active {
			p.tend = true
		}
	}
	l.each(func(e *entry) { l.want(e, false) })
}

// collect takes the results that are there: a process that has stood still finds its timers due beside them.
func (l *loop) collect(now time.Time) {
	for {
		select {
		case r := <-l.dir.results:
			l.finished(r, now)
		default:
			return
		}
	}
}

// recheck wants the files that are due.
func (l *loop) recheck(now time.Time) {
	l.soon = time.Time{}
	l.each(func(e *entry) {
		switch {
		case e.recheck.IsZero():
		case !now.Before(e.recheck):
			e.recheck = time.Time{}
			l.want(e, true)
		case l.soon.IsZero() || e.recheck.Before(l.soon):
			l.soon = e.recheck
		}
	})
}

// pause is the time to the next look that nobody asked for.
func (l *loop) pause() time.Duration {
	pause := l.dir.poll
	if l.active != 0 || l.dir.places[0].deaf != nil {
		pause = min(pause, impatient)
	}
	return pause/2 + rand.N(pause)
}

// wake is when tick has something to do.
func (l *loop) wake() time.Time {
	wake := l.next
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	for _, p := range l.dir.places {
		if p.busy && p.state != hung {
			earlier(p.since.Add(l.dir.patience))
		}
	}
	earlier(l.soon)
	return wake
}

// remove forgets a file.
func (l *loop) remove(e *entry) {
	e.removed, e.want = true, false
	for _, p := range l.dir.places {
		p.drops = append(p.drops, e)
	}
	release(e.waiters)
	e.waiters = nil
	l.entries[e.name] = slices.DeleteFunc(l.entries[e.name], func(other *entry) bool { return other == e })
	if len(l.entries[e.name]) == 0 {
		delete(l.entries, e.name)
	}
}
