package keeper

import (
	"context"
	"errors"
)

// goodbye finds out what ctx ended for: nil is a stop, errLeft that another keeper goes on with the mount. What cannot be found out
// is a stop, since a mount that nobody serves would hang whoever uses it.
func (k *keeper) goodbye() error {
	if k.manager == nil || k.init == nil {
		return nil
	}
	i, err := k.ask(context.Background())
	switch {
	case errors.Is(err, errNoService):
		return nil
	case err != nil:
		k.Logger.Warn("cannot find out whether this is a restart, taking it for a stop", "err", err)
		return nil
	case !i.keeps():
		return nil
	}
	return errLeft
}

// leave ends this keeper and spares the mount, whose descriptor is parked. Requests wait until the next keeper's server reads them.
func (k *keeper) leave() error {
	k.Logger.Info("leaving the mount to the next keeper", "mount", k.point)
	k.manager.status("leaving the mount to the next keeper")
	if k.trial != nil {
		k.trialFailed(errStopping)
	}
	if k.server != nil {
		k.relieve()
		if !k.await(k.grace, k.server) {
			k.Logger.Error("server does not end, killing it", "pid", k.server.pid(), "after", k.grace)
			k.server.kill()
			k.await(afterKill, k.server)
		}
	}
	// A process that waits for a request that nobody has read can be killed, also by its own users; one whose request was
	// read cannot. So what the server left unanswered goes back to the queue. Older kernels have ended it.
	_, _ = k.fuse.Write(framed(notifyResend, nil))
	if k.poker != nil {
		k.endPoker()
		if !k.await(lookAgain, k.poker) {
			k.poker.kill()
		}
	}
	k.left = true
	err := k.close()
	k.save()
	return err
}
