package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// upgradeTimeout is what a new server has for each of its two steps if nobody says otherwise.
const upgradeTimeout = 10 * time.Second

// ErrUpgrade says that another upgrade is under way, or that nothing has been served yet.
var ErrUpgrade = errors.New("cannot upgrade now")

// Upgrade asks a keeper to go on with another server. The mount stays, and no request fails: they wait while no server reads them.
type Upgrade struct {
	Server []string // its command line
	Poker  []string // the new poker's; nil: the present poker goes on

	// Timeout is how long the new server may take to be prepared and, when the old one is gone, to be ready; the time that
	// the old one needs to finish is not counted. 0: 10 s.
	Timeout time.Duration

	// Result gets one value: nil when the new server serves, else why the old one still does, or does again. It must have
	// room for it.
	Result chan<- error
}

func (u Upgrade) answer(err error) {
	select {
	case u.Result <- err:
	default: // nobody listens
	}
}

// trial is an upgrade under way. Its server is a child like any other, but for a while not the one that serves.
type trial struct {
	Upgrade
	step    step
	program program
	poker   program
	server  *child
	began   time.Time
	refused string           // why it will not do, in its own words
	due     <-chan time.Time // when to lose patience
}

// step is how far a trial is. Only one server reads the kernel's requests at any time: the old one until it is gone, then the new one.
type step int

const (
	preparing step = iota // the new one looks whether it can do what the kernel was promised, the old one serves
	relieving             // the new one is prepared, the old one finishes
	starting              // the old one is gone, the new one gets ready
)

// begin starts the new server, which is told to try.
func (k *keeper) begin(u Upgrade) {
	if u.Timeout <= 0 {
		u.Timeout = upgradeTimeout
	}
	switch {
	case k.trial != nil:
		u.answer(fmt.Errorf("%w: another upgrade is under way", ErrUpgrade))
		return
	case k.init == nil:
		u.answer(fmt.Errorf("%w: no server has served yet", ErrUpgrade))
		return
	}
	h := k.hello()
	h.Trial = true
	t := &trial{Upgrade: u, program: findProgram(u.Server), poker: findProgram(u.Poker), began: time.Now(), due: time.After(u.Timeout)}
	var err error
	if t.server, err = k.launch(t.program, h); err != nil {
		t.program.close()
		t.poker.close()
		u.answer(fmt.Errorf("start the new server: %w", err))
		return
	}
	k.manager.reloading()
	k.Logger.Info("upgrade: trying another server", "pid", t.server.pid(), "command", u.Server)
	k.trial = t
}

// trying is the server that does not serve yet.
func (k *keeper) trying() *child {
	if k.trial == nil || k.trial.step == starting {
		return nil
	}
	return k.trial.server
}

func (k *keeper) trialDue() <-chan time.Time {
	if k.trial == nil {
		return nil
	}
	return k.trial.due
}

// hearTrial hears the server that does not serve yet.
func (k *keeper) hearTrial(r *report) {
	switch {
	case r.Refused != "":
		k.trial.refused = r.Refused
	case r.Prepared && k.trial.step == preparing:
		k.trial.step = relieving
		if k.server == nil { // it died, and its next start is awaited
			k.handOver()
			return
		}
		k.trial.due = time.After(k.grace)
		k.relieve()
	}
}

// relieve has the server finish and end, since another takes its place.
func (k *keeper) relieve() {
	k.server.why = upgrade
	k.server.say(notice{Quiesce: true})
	_ = k.server.cmd.Process.Signal(unix.SIGTERM)
}

// handOver makes the new server the one that serves; the old one is gone.
func (k *keeper) handOver() {
	t := k.trial
	k.incarnation++
	k.save()
	k.serverDue = nil
	t.step, t.due = starting, time.After(t.Timeout)
	k.server, k.oomKills = t.server, oomKills()
	k.server.tell(k.hello())
	k.sayReaped()
}

// concluded is called when the new server is ready.
func (k *keeper) concluded() {
	t := k.trial
	k.trial = nil
	k.serverProgram.close()
	k.serverProgram = t.program
	if t.Poker != nil {
		k.pokerProgram.close()
		k.pokerProgram = t.poker
		k.endPoker()
	}
	k.Logger.Info("upgraded", "command", t.Server, "took", time.Since(t.began))
	t.answer(nil)
}

// endPoker has the poker end after what it is doing, and another one started.
func (k *keeper) endPoker() {
	if k.poker == nil {
		return
	}
	k.poker.why = upgrade
	if err := sendNow(k.pokes[0], []byte{msgEnd}); err != nil {
		k.poker.kill()
	}
}

// lastResort is called when a step of the trial takes too long.
func (k *keeper) lastResort() {
	t := k.trial
	t.due = nil
	switch {
	case t.step == preparing:
		k.trialFailed(fmt.Errorf("the new server was not prepared within %v", t.Timeout))
	case t.step == starting:
		t.refused = fmt.Sprintf("not ready within %v", t.Timeout)
		t.server.kill()
	case !k.server.killed:
		k.Logger.Error("server does not end for an upgrade, killing it", "pid", k.server.pid(), "after", k.grace)
		k.server.kill()
		t.due = time.After(afterKill)
	default:
		k.trialFailed(errors.New("the old server cannot be killed"))
	}
}

// trialFailed gives the upgrade up. The old server serves on, or is started again when it is gone.
func (k *keeper) trialFailed(err error) {
	t := k.trial
	k.trial = nil
	if t.refused != "" {
		err = fmt.Errorf("%s: %w", t.refused, err)
	}
	t.server.kill()
	t.program.close()
	t.poker.close()
	k.Logger.Error("upgrade failed, back to the old server", "command", t.Server, "err", err)
	t.answer(err)
	k.manager.ready("upgrade failed, back to the old server")
}
