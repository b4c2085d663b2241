package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// step is a point in a write at which a crash is told apart from one a moment before. In the order in which they come.
type step string

const (
	stepPlanned   step = "planned"            // nothing was written
	stepBody      step = "body written"       // once for each body
	stepSynced    step = "bodies durable"     // or to be carried by the journal; nobody names them yet
	stepStaged    step = "plain files staged" // linked, one rename away from their place
	stepAppended  step = "journal written"    // whole or torn
	stepCommitted step = "journal durable"    // the commit point
	stepApplied   step = "index switched"
	stepPlain     step = "plain file renamed" // once for each file
	stepDropped   step = "body dropped"       // once for each body

	stepListed            step = "orphans listed"     // not yet looked at again
	stepCheckpointWritten step = "checkpoint durable" // under another name
	stepCheckpointRenamed step = "checkpoint in place"
)

// request is one change that a caller waits for. It happens as a whole or not at all.
type request struct {
	plan func(p *plan) error
	ops  []op
	err  error
	done bool
}

// plan is a change in the making. It sees the index as the requests before it in the same batch will leave it.
type plan struct {
	store *Store
	seen  map[File]*version // overlay over the index; nil: removed
	last  Stamp
	ops   []op

	planned *Graph // overlay over the index's
	id      uint64 // the next one, if planned
}

// do carries out a change. Whoever gets the directory carries out everything that waits for it, so that many callers share
// one wait for the disk.
func (s *Store) do(change func(p *plan) error) error {
	r := &request{plan: change}
	s.waiting.Lock()
	s.waiting.requests = append(s.waiting.requests, r)
	s.waiting.Unlock()

	s.writing.Lock()
	defer s.settle()
	defer s.writing.Unlock()
	if r.done {
		return r.err
	}
	s.waiting.Lock()
	batch := s.waiting.requests
	s.waiting.requests = nil
	s.waiting.Unlock()
	if err := s.run(batch); err != nil && len(batch) > 1 {
		// One of them asks for too much, perhaps: the others must not suffer for it.
		for i := range batch {
			s.run(batch[i : i+1])
		}
	}
	return r.err
}

// run carries out a batch of requests, and its error is theirs. A request whose plan fails is out of the batch.
func (s *Store) run(batch []*request) error {
	defer func() {
		for _, r := range batch {
			r.done = true
		}
	}()
	if err := s.writable(); err != nil {
		return fail(batch, err)
	}
	p := &plan{store: s, seen: map[File]*version{}, last: s.index.last}
	var ops []op
	for _, r := range batch {
		p.ops, r.ops = nil, nil
		if r.err = r.plan(p); r.err == nil {
			r.ops = p.ops
			ops = append(ops, r.ops...)
		}
	}
	if len(ops) == 0 {
		return nil
	}
	s.step(stepPlanned)
	contents := carried(ops)
	if err := s.prepare(ops, contents); err != nil {
		return fail(batch, errors.Join(err, s.undo(ops)))
	}
	binding := slices.ContainsFunc(ops, durable)
	if err := s.journal.append(withContents(ops, contents), binding, func() { s.step(stepAppended) }); err != nil {
		if binding {
			return fail(batch, errors.Join(err, s.undo(ops)))
		}
		// A full disk must not keep anybody from dropping what fills it.
		s.log.Warn("journal is behind", "err", err)
	}
	s.carry(contents)
	s.step(stepCommitted)
	for _, r := range batch {
		s.apply(r.ops)
	}
	s.step(stepApplied)
	s.publish(ops)
	s.sweep(ops)
	if s.grown() || len(s.lagging) > 0 {
		s.wakeUpkeep()
	}
	return nil
}

// writable says why nothing can be written. It first writes a journal anew that can no longer be trusted.
func (s *Store) writable() error {
	switch {
	case s.closed:
		return fmt.Errorf("state directory %s: %w", s.dir, fs.ErrClosed)
	case s.readOnly != nil:
		return s.readOnly
	case s.journal.sick != nil:
		return s.checkpoint()
	}
	return nil
}

func fail(batch []*request, err error) error {
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
	}
	return err
}

// durable says whether a change must survive a power cut. To tell a watcher twice or to forget a body twice does no harm.
func durable(o op) bool {
	switch o := o.(type) {
	case told, drop:
		return false
	case graphChange:
		return !o.told
	}
	return true
}

// apply switches the index, one request at a time, and wakes those who follow it.
func (s *Store) apply(ops []op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range ops {
		o.apply(s.index)
		for f := range s.feeds {
			if f.note(f, o) {
				f.notify()
			}
		}
	}
}

// prepare writes the bodies, makes those durable that the journal will not carry, and puts their plain files within one rename.
func (s *Store) prepare(ops []op, contents []content) error {
	var bodies []put
	last := map[File]Stamp{}
	for _, o := range ops {
		switch o := o.(type) {
		case put:
			bodies = append(bodies, o)
			last[o.entry.File] = o.entry.Stamp
		case remove:
			delete(last, o.file) // in the same batch: there will be no plain file
		}
	}
	if len(bodies) == 0 {
		return nil
	}
	if err := s.writeBodies(bodies, contents); err != nil {
		return err
	}
	s.step(stepSynced)
	for _, o := range bodies {
		if last[o.entry.File] == o.entry.Stamp {
			if err := s.stage(o.entry); err != nil {
				return err
			}
		}
	}
	s.step(stepStaged)
	return nil
}

// undo removes what prepare left of a change that did not happen.
func (s *Store) undo(ops []op) (err error) {
	for _, o := range ops {
		if o, ok := o.(put); ok {
			for _, path := range []string{s.dir.staged(o.entry.Stamp), s.dir.body(o.entry.Stamp)} {
				if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
					err = errors.Join(err, e)
				}
			}
		}
	}
	return err
}

// sweep deletes the bodies of dropped versions.
func (s *Store) sweep(ops []op) {
	for _, o := range ops {
		o, ok := o.(drop)
		if !ok {
			continue
		}
		if err := os.Remove(s.dir.body(o.stamp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("old body not deleted", "body", s.dir.body(o.stamp), "err", err) // the next Open tries again
		}
		s.step(stepDropped)
	}
}

// record writes to the journal what watchers were told. The caller holds writing.
func (s *Store) record() {
	s.mu.Lock()
	heard := s.heard
	s.heard = nil
	s.mu.Unlock()
	if len(heard) == 0 {
		return
	}
	if err := s.journal.append(heard, false, func() {}); err != nil {
		s.log.Warn("announcements not recorded, a restart may repeat them", "count", len(heard), "err", err)
	}
}

// settle records what was announced while somebody else held the directory and could not be waited for.
func (s *Store) settle() {
	for {
		s.mu.RLock()
		idle := len(s.heard) == 0 || s.closed
		s.mu.RUnlock()
		if idle || !s.writing.TryLock() {
			return
		}
		s.record()
		s.writing.Unlock()
	}
}
