package keeper

import (
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// serverDied has the server replaced, or returns why it cannot be.
func (k *keeper) serverDied(cause error) error {
	dead := k.server
	k.server = nil
	why := k.whyDied(dead, cause)
	switch {
	case why == hang:
		cause = fmt.Errorf("%w: %w", errHung, cause)
	case dead.refused != "":
		cause = fmt.Errorf("%s: %w", dead.refused, cause)
	}
	k.died = time.Now()
	k.causes.add(why)
	if why != upgrade {
		k.lastDeath = cause.Error()
	}
	if aborted(int(k.fuse.Fd())) {
		return k.whyEnded()
	}
	switch {
	case k.trial != nil && k.trial.step == relieving:
		k.handOver()
		return nil
	case k.trial != nil && k.trial.server == dead:
		k.trialFailed(fmt.Errorf("the new server ended before it was ready: %w", cause))
		k.serverDue = time.After(0)
		return nil
	case why == upgrade: // its successor has failed meanwhile
		k.serverDue = time.After(0)
		return nil
	}
	k.manager.status("server died, starting another: " + k.lastDeath)
	if exit, ok := errors.AsType[*exec.ExitError](cause); ok && exit.ExitCode() == StatusFatal {
		if k.tookBack && !k.served { // its promises to the kernel may be too old for this version, and a new mount helps
			return k.abandon("no server can go on with the mount of the last keeper")
		}
		return fmt.Errorf("the server cannot go on: %w", cause)
	}
	if k.init == nil {
		return fmt.Errorf("the server ended before it served: %w", cause)
	}
	pause := k.serverPace.next(!dead.ready.IsZero() && k.died.Sub(dead.ready) > serverHealthy)
	k.serverDue = time.After(pause)
	k.logDeath("server", dead, cause, pause, k.serverPace.streak)
	return nil
}

func (k *keeper) pokerDied(cause error) {
	dead := k.poker
	k.poker = nil
	if k.watchdog.asked == dead {
		k.watchdog.asked = nil
	}
	k.oomKills = oomKills()
	if dead.why == upgrade {
		k.pokerDue = time.After(0)
		return
	}
	pause := k.pokerPace.next(time.Since(dead.born) > pokerHealthy)
	k.pokerDue = time.After(pause)
	k.logDeath("poker", dead, cause, pause, k.pokerPace.streak)
}

func (k *keeper) logDeath(who string, dead *child, cause error, pause time.Duration, streak int) {
	log := k.Logger.With("pid", dead.pid(), "cause", cause, "lived", time.Since(dead.born), "next_in", pause)
	if streak > freeRestarts {
		log.Error(who+" keeps dying", "times", streak)
		return
	}
	log.Warn(who + " died, starting another")
}

// whyEnded distinguishes a mount that is still there, dead, from one that was taken away on purpose.
func (k *keeper) whyEnded() error {
	stack, err := mountsOn(k.point)
	for _, m := range stack {
		if m.minor == k.minor && m.fsType == fsType {
			return errAborted
		}
	}
	return errors.Join(err, fmt.Errorf("mount on %s: %w", k.point, errUnmounted))
}
