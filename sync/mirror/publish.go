package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Publication is what somebody wants to be the next version of a config.
type Publication struct {
	Name          registry.Name
	Body          []byte
	Base          registry.Version // the version that Body was made from
	CompareAndSet bool             // refuse with ErrConflict unless Base is still current; otherwise the last writer wins
	Create        bool             // make the name, in the first of Options.Dependencies, if there is none
	Author        string           // user@host
	Message       string           // why, in the author's words; at most 1 KiB
	Force         bool             // let the body be empty, or collapse, or be no map of deciders
	Origin        uint64           // handed to disk.Commit

	// One decider instead of the whole map: Name is registry.DeciderName, Base the version of the decider's own file, and Body
	// is not looked at. Whatever else the map holds stays, and is nobody's conflict.
	Decider string
	Percent int
	Remove  bool // ErrNotExist if there is no such decider
}

const (
	maxMessage = 1 << 10 // bytes: S3 gives 2 KiB for all that is said of an object
	maxAuthor  = 256     // bytes

	// collapseFrom is the size above which a version is not cut below a tenth by accident.
	collapseFrom = 1 << 10
	collapseTo   = 10
)

// Publish makes a body the current version of a config everywhere, and has it on this machine's disk when it returns. What it
// returns is what is current then: the bytes of the present version again make no version, though a compare-and-set that lost with
// them has lost. If this machine does not follow the name the entry has no Stamp.
//
// ErrConflict: somebody else published first, and his version has been brought home, so that the caller may rebase and try again.
// ErrInvalid, ErrTooLarge, ErrQuota, ErrNotExist, ErrUnreachable, ErrTimeout: nothing changed. ErrUnknown: it may have been published, and
// that could not be found out. An error of the disk: it was published, and this machine has it later.
func (m *Mirror) Publish(ctx context.Context, p Publication) (disk.Entry, error) {
	started := time.Now()
	entry, published, err := m.publish(ctx, p)
	if published || errors.Is(err, registry.ErrUnknown) {
		m.quota.count(p.counted())
		m.schemas.forget(p.Name)
	}
	m.recordPublication(p, entry, published, err, time.Since(started))
	return entry, err
}

func (m *Mirror) publish(ctx context.Context, p Publication) (e disk.Entry, published bool, err error) {
	if err := m.checkPublication(p); err != nil {
		return disk.Entry{}, false, err
	}
	if p.Author == "" {
		p.Author = "kingpin@" + m.o.Host
	}
	t, cancel := m.newTask(ctx)
	defer cancel()
	check, checked := m.beginCheck(t.ctx, p.Name)
	defer checked()
	t.check = check
	unlock, err := m.locks.lock(t.ctx, p.Name)
	if err != nil {
		return disk.Entry{}, false, fmt.Errorf("publish %s: another publication of it is under way: %w", p.Name, inTime(err))
	}
	defer m.wakeUp(p.Name) // after the unlock: whoever found the name locked relies on it
	defer unlock()

	for trusting := true; ; trusting = false {
		e, published, err = m.attempt(t, p, trusting)
		outdated, lost := errors.Is(err, errOutdated), errors.Is(err, registry.ErrConflict)
		if !outdated && (p.CompareAndSet || !lost) {
			return e, published, err
		}
		if lost && !p.CompareAndSet {
			m.counters.races.Add(1)
		}
		if t.ctx.Err() != nil {
			return e, false, fmt.Errorf("publish %s: lost every race: %w: %w", p.Name, registry.ErrTimeout, err)
		}
	}
}

// checkPublication refuses what can be refused by looking at it.
func (m *Mirror) checkPublication(p Publication) error {
	if _, err := registry.ParseName(string(p.Name)); err != nil {
		return err
	}
	if p.Name.Kind() != registry.Config {
		return fmt.Errorf("%s is a serverset, its members register themselves: %w", p.Name, registry.ErrInvalid)
	}
	if size := int64(len(p.Body)); size > m.o.MaxBody {
		return fmt.Errorf("%d bytes, at most %d are published (--max-body): %w", size, m.o.MaxBody, registry.ErrTooLarge)
	}
	if _, err := registry.ParseVersion(string(p.Base)); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	if len(p.Message) > maxMessage {
		return fmt.Errorf("message of %d bytes, at most %d: %w", len(p.Message), maxMessage, registry.ErrInvalid)
	}
	if len(p.Author) > maxAuthor {
		return fmt.Errorf("author of %d bytes, at most %d: %w", len(p.Author), maxAuthor, registry.ErrInvalid)
	}
	if p.Decider != "" {
		return p.checkDecider()
	}
	if p.Name == registry.DeciderName && !p.Force {
		return registry.CheckDeciders(p.Body)
	}
	return nil
}

// errOutdated asks for another round of a publication that has trusted what may not be true any more.
var errOutdated = errors.New("what is present has to be asked for")

// attempt is one round of Publish: against the state that it finds. While it is trusting it takes the registry's last word for that,
// but nobody is refused for it, nor told that there is nothing to do.
func (m *Mirror) attempt(t task, p Publication, trusting bool) (e disk.Entry, published bool, err error) {
	if state, ok := m.lastKnown(p.Name); ok && trusting {
		e, published, err = m.attemptFrom(t, p, state)
		switch {
		case published:
		case err == nil:
			err = errOutdated
		case errors.Is(err, registry.ErrConflict), errors.Is(err, registry.ErrNotExist), errors.Is(err, registry.ErrInvalid):
			err = fmt.Errorf("%w: %w", errOutdated, err)
		}
		return e, published, err
	}
	state, err := m.look(t, p)
	if err != nil {
		return disk.Entry{}, false, err
	}
	return m.attemptFrom(t, p, state)
}

// attemptFrom is attempt from a state.
func (m *Mirror) attemptFrom(t task, p Publication, state registry.State) (e disk.Entry, published bool, err error) {
	if p.Decider != "" {
		return m.attemptDecider(t, p, state)
	}
	if !state.Exists {
		if err := m.createPointer(t, p.Name); err != nil {
			return disk.Entry{}, false, err
		}
		return m.advanceTo(t, p, state)
	}
	if p.Create && !m.followed(p.Name) {
		if err := m.enrolHere(t, p); err != nil {
			return disk.Entry{}, false, fmt.Errorf("not published: %w", err)
		}
	}
	now, err := m.judge(t, p, state)
	if err != nil {
		return disk.Entry{}, false, err
	}
	if now.is(p.Body) {
		return now.entry, false, nil
	}
	return m.advanceTo(t, p, state)
}

// lastKnown is the registry's last word about a name that is here as it said: what is most probably true, without asking.
func (m *Mirror) lastKnown(name registry.Name) (registry.State, bool) {
	e, here := m.store.Current(disk.File{Kind: name.Kind(), Name: string(name)})
	if !here || m.damaged(name) {
		return registry.State{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followers[name]
	if f == nil || !f.word.heard || !f.word.exists || f.word.version != e.Version || f.condition != Current {
		return registry.State{}, false
	}
	return registry.State{Exists: true, Version: f.word.version, Order: f.word.order}, true
}

// look reads the state that a publication meets, and refuses one that may not make the name.
func (m *Mirror) look(t task, p Publication) (registry.State, error) {
	state, err := m.registry.State(t.ctx, p.Name.Pointer())
	m.answered(registrySide, err)
	switch {
	case err != nil:
		err = fmt.Errorf("not published: read the present version of %s: %w", p.Name, inTime(err))
	case !state.Exists && !p.Create:
		err = fmt.Errorf("%s does not exist, kingpin create makes it: %w", p.Name, registry.ErrNotExist)
	case !state.Exists && p.CompareAndSet && p.Base != "":
		err = fmt.Errorf("%s was deleted: %w", p.Name, registry.ErrConflict)
	}
	return state, err
}

// judge brings home the version that a publication would replace, and refuses the publication if that is not to be replaced by it.
func (m *Mirror) judge(t task, p Publication, state registry.State) (present, error) {
	now, err := m.present(t.ctx, p.Name, state)
	switch {
	case err != nil:
		return now, fmt.Errorf("not published: %w", err)
	case p.CompareAndSet && state.Version != p.Base:
		// Also if the bytes are the same: who adds one to a number has lost the race to who did so too.
		now.entry.Version = state.Version
		return now, conflict(p, now)
	case now.is(p.Body):
		return now, nil
	}
	return now, now.guard(p)
}

// advanceTo stores the body and moves the pointer to it from the state that was found.
func (m *Mirror) advanceTo(t task, p Publication, from registry.State) (e disk.Entry, published bool, err error) {
	if err := m.quota.check(p.counted()); err != nil {
		return disk.Entry{}, false, err
	}
	if err := t.check(p.Body); err != nil {
		return disk.Entry{}, false, err
	}
	if m.followed(p.Name) {
		if err := m.room(len(p.Body)); err != nil {
			return disk.Entry{}, false, fmt.Errorf("not published: %w", err)
		}
	}
	body := registry.Body{Data: p.Body, Meta: registry.Meta{
		SHA256: registry.Sum(p.Body), Author: p.Author, Message: p.Message, Published: time.Now().UTC(),
	}}
	c := disk.Commit{
		File: disk.File{Kind: registry.Config, Name: string(p.Name)}, Body: p.Body,
		Author: p.Author, Message: p.Message, Published: body.Meta.Published, Origin: p.Origin,
	}
	bringHome := func(state registry.State) {
		c.Version, c.Order = state.Version, state.Order
		m.believe(p.Name, state)
		if e, err = m.commit(c, p.Decider); err == nil {
			m.concludeOwn(p.Name)
		}
	}
	arrive := bringHome // beside the index: nobody here waits for that
	if !from.Exists || !m.followed(p.Name) {
		arrive = nil
	}
	state, failed := m.put(t, p.Name.Pointer(), from.Version, body, arrive)
	switch {
	case errors.Is(failed, registry.ErrConflict) && p.CompareAndSet:
		return disk.Entry{}, false, m.lost(t, p)
	case failed != nil:
		return disk.Entry{}, false, fmt.Errorf("publish %s: %w", p.Name, failed)
	}
	if !from.Exists {
		if err := m.enrolHere(t, p); err != nil {
			return disk.Entry{}, true, fmt.Errorf("published as %s, but not subscribed: %w", state.Version, err)
		}
	}
	switch {
	case arrive != nil:
	case m.followed(p.Name):
		bringHome(state)
	default:
		return disk.Entry{
			File: c.File, Version: state.Version, Order: state.Order, Size: int64(len(c.Body)), SHA256: body.Meta.SHA256,
			Author: c.Author, Message: c.Message, Published: c.Published, Origin: c.Origin,
		}, true, nil
	}
	if err != nil {
		return e, true, fmt.Errorf("published as %s, this machine has it later: %w", state.Version, err)
	}
	return e, true, nil
}

// believe takes what a publication of our own came to as the registry's word, ahead of the feed.
func (m *Mirror) believe(name registry.Name, state registry.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followers[name]; f != nil {
		f.take(stateWord(state))
	}
}

// concludeOwn is conclude for a publication of our own that is on disk: whoever asks how the name is, now that it is published, is not
// told what was wrong with it before. The caller has the name's lock.
func (m *Mirror) concludeOwn(name registry.Name) {
	m.mu.Lock()
	f := m.followers[name]
	troubled := f != nil && f.condition != Current
	var w word
	if troubled {
		w = f.word
	}
	m.mu.Unlock()
	if troubled {
		m.conclude(f, w, nil)
	}
}

// present is the version that a publication would replace.
type present struct {
	entry disk.Entry
	known bool // the entry is that version; otherwise it is the last good one that this machine has, if any
	here  bool
}

// present brings the present version home and says what it is. A version that is held does not keep anybody from publishing a better
// one, but for a registry that is not the one this machine knows.
func (m *Mirror) present(ctx context.Context, name registry.Name, state registry.State) (present, error) {
	if !m.followed(name) {
		return m.presentElsewhere(ctx, name, state)
	}
	w := stateWord(state)
	entry, err := m.bringHome(ctx, name, w, nil)
	current, here := m.store.Current(disk.File{Kind: name.Kind(), Name: string(name)})
	if here && w.order < current.Order && w.version != current.Version {
		return present{}, fmt.Errorf("%s: %w: %w", name, err, registry.ErrInvalid)
	}
	if err == nil {
		return present{entry: entry, known: true, here: true}, nil
	}
	if errors.As(err, new(held)) || errors.Is(err, registry.ErrNotExist) {
		return present{entry: current, here: here}, nil // it is broken or lost: time for a new one
	}
	return present{}, inTime(err)
}

// presentElsewhere is present of a name that this machine does not follow.
func (m *Mirror) presentElsewhere(ctx context.Context, name registry.Name, state registry.State) (present, error) {
	e := disk.Entry{File: disk.File{Kind: name.Kind(), Name: string(name)}, Version: state.Version, Order: state.Order}
	if state.Version == "" {
		e.SHA256 = registry.Sum(nil)
		return present{entry: e, known: true, here: true}, nil
	}
	body, err := m.fetch(ctx, name, state.Version)
	if errors.As(err, new(held)) || errors.Is(err, registry.ErrNotExist) {
		return present{entry: e}, nil
	} else if err != nil {
		return present{}, err
	}
	e.Size, e.SHA256 = int64(len(body.Data)), registry.Sum(body.Data)
	e.Author, e.Message, e.Published = body.Meta.Author, body.Meta.Message, body.Meta.Published
	return present{entry: e, known: true, here: true}, nil
}

// is says whether body is what is there already.
func (p present) is(body []byte) bool {
	return p.known && p.entry.Size == int64(len(body)) && p.entry.SHA256 == registry.Sum(body)
}

// guard refuses what looks like an accident: to empty a config, or to cut a large one below a tenth.
func (p present) guard(next Publication) error {
	before, after := p.entry.Size, int64(len(next.Body))
	switch {
	case next.Force || !p.here || before == 0:
		return nil
	case after == 0:
		return fmt.Errorf("this would empty %s, which has %d bytes; if that is meant: kingpin put --force: %w",
			next.Name, before, registry.ErrInvalid)
	case before > collapseFrom && after*collapseTo < before:
		return fmt.Errorf("this would cut %s from %d bytes to %d, below a tenth; if that is meant: kingpin put --force: %w",
			next.Name, before, after, registry.ErrInvalid)
	}
	return nil
}

// conflict is the error of a publication whose base is not the present version.
func conflict(p Publication, now present) error {
	by := ""
	if now.entry.Author != "" {
		by = " by " + now.entry.Author
	}
	base := "a name that was never written"
	if p.Base != "" {
		base = "version " + string(p.Base)
	}
	return fmt.Errorf("%s is at version %s%s now, and this was made from %s: %w",
		p.Name, now.entry.Version, by, base, registry.ErrConflict)
}

// lost brings home the version that won against p.
func (m *Mirror) lost(t task, p Publication) error {
	state, err := m.registry.State(t.ctx, p.Name.Pointer())
	m.answered(registrySide, err)
	if err == nil && !state.Exists {
		err = errMissing
	}
	var now present
	if err == nil {
		now, err = m.present(t.ctx, p.Name, state)
	}
	if err != nil {
		return fmt.Errorf("%s has another version now, which could not be brought home (%w): %w", p.Name, err, registry.ErrConflict)
	}
	now.entry.Version = state.Version
	return conflict(p, now)
}
