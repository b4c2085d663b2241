package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

var errStopping = errors.New("the keeper stops")

// tearDown ends one mount's life: its children, its connection to the kernel and, unless it is to be mounted over, the
// mount itself. The package comment says why in this order.
func (k *keeper) tearDown(cause error) error {
	if cause == nil {
		k.manager.status("ending", "STOPPING=1")
	}
	if k.trial != nil {
		k.trialFailed(errStopping)
	}
	if k.server != nil {
		k.server.say(notice{Stopping: true})
		_ = k.server.cmd.Process.Signal(unix.SIGTERM)
	}
	flags := 0
	if k.poker != nil {
		k.poker.kill()
		if !k.await(pokerGrace, k.poker) {
			// It waits in the kernel, out of reach of signals, for an answer that a server gives at once or never.
			k.Logger.Error("poker is stuck, aborting the connection to the kernel", "mount", k.point)
			flags = unix.MNT_FORCE
		}
	}
	var err error
	switch {
	case errors.Is(cause, errAborted), errors.Is(cause, errUnmounted):
	case cause == nil && k.cover():
		k.covered = true
	default:
		err = k.unmount(flags)
	}
	if k.server != nil && !k.server.killed && !k.await(k.grace, k.server) {
		k.Logger.Error("server does not end, killing it", "pid", k.server.pid(), "after", k.grace)
		k.server.kill()
	}
	k.manager.unpark()
	k.tookBack = false
	return errors.Join(err, k.close())
}

// close ends one mount's life here, once the children were told to end.
func (k *keeper) close() error {
	var stuck error
	if !k.await(afterKill, k.children...) {
		stuck = errors.New("a child is left behind, it cannot be killed")
	}
	for _, f := range append(k.pokes[:], k.fuse) {
		if f != nil {
			f.Close()
		}
	}
	close(k.quit)
	if stuck == nil {
		k.joined.Wait() // else one of them waits for a child that cannot be killed
	}
	k.fuse, k.server, k.poker, k.serverDue, k.pokerDue = nil, nil, nil, nil, nil
	return stuck
}

// cover puts the plain files over the mount while it is still served, so that no look at a path fails in between.
func (k *keeper) cover() bool {
	if !k.Cover || k.Under == "" {
		return false
	}
	if err := layUnder(k.point, k.Under); err != nil {
		k.Logger.Warn("cannot cover the mount with the plain files, unmounting it", "err", err)
		return false
	}
	return true
}

// unmount takes this keeper's own mount off the mount point. With MNT_FORCE every request in it ends with an error first.
func (k *keeper) unmount(flags int) error {
	stack, err := mountsOn(k.point)
	if err != nil || len(stack) == 0 {
		return err
	}
	if top := stack[len(stack)-1]; top.minor != k.minor {
		return fmt.Errorf("unmount %s: %w: %s (%s) was mounted over it", k.point, unix.EBUSY, top.fsType, top.source)
	}
	if err := unmount(k.point, flags, k.Logger); err != nil {
		return fmt.Errorf("unmount %s: %w", k.point, err)
	}
	return nil
}

// await handles events until these children are reaped, and says whether they are. Time in which this process does not run, and so hears
// nothing of them, does not count.
func (k *keeper) await(d time.Duration, children ...*child) bool {
	const ticks = 20
	tick := time.NewTicker(d / ticks)
	defer tick.Stop()
	for patience := ticks; ; {
		left := 0
		for _, c := range children {
			if !c.reaped {
				left++
			}
		}
		if left == 0 {
			return true
		}
		select {
		case <-tick.C:
			if patience--; patience == 0 {
				return false
			}
		case <-k.heartbeat:
			k.manager.alive()
		case e := <-k.events:
			switch {
			case e.report == nil:
				e.child.bury()
			case e.child == k.server:
				k.hear(e.report)
			}
		}
	}
}
