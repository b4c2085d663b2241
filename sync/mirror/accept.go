package mirror

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Acceptances is what a Registry may offer beside its feeds: the word of an operator for all machines. Without it a machine can only
// be told by itself.
type Acceptances interface {
	// Acceptances follows all of them, also some that are over.
	Acceptances(ctx context.Context) iter.Seq2[registry.Acceptances, error]
	// PutAcceptance replaces that of the same serverset; one that is over only ends it.
	PutAcceptance(ctx context.Context, a registry.Acceptance) error
}

// Losses is what a Registry behind a network may offer: how often it was reached anew so far, and why it cannot be reached now. What it
// says behind a loss counts from then on.
type Losses interface {
	Losses() (count int64, now error)
}

// acceptances are what operators have accepted, for all machines and for this one. Mirror.mu guards them.
type acceptances struct {
	fleet map[registry.Name]registry.Acceptance
	here  map[registry.Name]registry.Acceptance
}

// valid is the acceptance of a name that lasts longest, if there is one now.
func (all acceptances) valid(name registry.Name, now time.Time) (a registry.Acceptance, here, ok bool) {
	a, local := all.fleet[name], all.here[name]
	if local.Until.After(a.Until) {
		a, here = local, true
	}
	return a, here, a.Valid(now)
}

// hearAcceptances follows what operators accept, if the registry has that.
func (m *Mirror) hearAcceptances(ctx context.Context) {
	offered, ok := m.registry.(Acceptances)
	for failures := 1; ok && ctx.Err() == nil; failures++ {
		for all, err := range offered.Acceptances(ctx) {
			m.outcome(registrySide, err)
			if err == nil {
				m.takeAcceptances(all.List)
			}
		}
		pause(ctx, backoff(failures)) // a feed that ends by itself is started again
	}
}

// takeAcceptances replaces those for all machines, and has the guards of those that are new look again.
func (m *Mirror) takeAcceptances(list []registry.Acceptance) {
	now := time.Now()
	fleet := map[registry.Name]registry.Acceptance{}
	for _, a := range list {
		if a.Valid(now) && a.Until.After(fleet[a.Name].Until) {
			fleet[a.Name] = a
		}
	}
	m.mu.Lock()
	before := m.accepted.fleet
	m.accepted.fleet = fleet
	var fresh []registry.Acceptance
	for name, a := range fleet {
		if m.followers[name] != nil && before[name] != a {
			fresh = append(fresh, a)
		}
	}
	m.mu.Unlock()
	m.notify()
	for _, a := range fresh {
		m.log.Info("accepted: the file shows what the registry does", "name", a.Name, "by", a.By, "until", a.Until)
		m.refresh(a.Name)
	}
}

// Accept has every machine that follows a serverset show what the registry does, whatever it does, for so long; 0 ends an earlier
// acceptance. It returns when this machine shows it, if it follows the serverset. ErrInvalid if the name is no serverset.
func (m *Mirror) Accept(ctx context.Context, name registry.Name, lasts time.Duration, by string) (registry.Acceptance, error) {
	a, err := m.newAcceptance(name, lasts, by)
	if err != nil {
		return a, err
	}
	offered, ok := m.registry.(Acceptances)
	if !ok {
		return a, fmt.Errorf("accept %s: this registry has no acceptances for all machines: %w", name, registry.ErrInvalid)
	}
	t, cancel := m.newTask(ctx)
	defer cancel()
	err = offered.PutAcceptance(t.ctx, a)
	m.answered(registrySide, err)
	if err != nil {
		return a, inTime(err)
	}
	if lasts == 0 || !m.followed(name) {
		m.log.Info("accepted, for those that follow it", "name", name, "by", by, "until", a.Until)
	}
	m.await(ctx, func() bool { return m.accepted.fleet[name] == a || lasts == 0 })
	m.awaitAccepted(ctx, name, lasts)
	return a, nil
}

// AcceptHere is Accept for this machine alone. It needs no registry, and ends with the process.
func (m *Mirror) AcceptHere(ctx context.Context, name registry.Name, lasts time.Duration, by string) (registry.Acceptance, error) {
	a, err := m.newAcceptance(name, lasts, by)
	if err != nil {
		return a, err
	}
	if !m.followed(name) {
		return a, fmt.Errorf("accept %s here: it is not followed here: %w", name, registry.ErrNotExist)
	}
	m.log.Info("accepted on this machine", "name", name, "by", by, "until", a.Until)
	m.mu.Lock()
	if m.accepted.here == nil {
		m.accepted.here = map[registry.Name]registry.Acceptance{}
	}
	m.accepted.here[name] = a
	m.mu.Unlock()
	m.awaitAccepted(ctx, name, lasts)
	return a, nil
}

func (m *Mirror) newAcceptance(name registry.Name, lasts time.Duration, by string) (registry.Acceptance, error) {
	now := time.Now().UTC().Truncate(time.Second)
	a := registry.Acceptance{Name: name, By: by, At: now}
	a.Until = now.Add(lasts.Round(time.Second))
	if lasts < 0 {
		return a, fmt.Errorf("accept %s for %v: %w", name, lasts, registry.ErrInvalid)
	}
	return a, a.Check()
}

// awaitAccepted has the guard of a name look again, and waits until its file shows what the registry does.
func (m *Mirror) awaitAccepted(ctx context.Context, name registry.Name, lasts time.Duration) {
	m.refresh(name)
	if lasts == 0 {
		return
	}
	var f *follower
	var wanted uint64
	m.await(ctx, func() bool {
		if now := m.followers[name]; f != now {
			f = now
			if f != nil {
				wanted = f.looks.wanted
			}
		}
		return f == nil || f.looks.done >= wanted && f.hold == Hold{} && f.condition != Held
	})
}
