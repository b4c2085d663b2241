package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	probePeriod = 3 * time.Second
	maxMisses   = 3  // of a server that serves, one a period
	startMisses = 20 // of one that does not serve yet: it may have a large state to look through
)

var errHung = errors.New("it hung")

// watchdog notices a server that has stopped answering: the poker reads a file of the mount, since the keeper never touches it.
type watchdog struct {
	ticked  time.Duration // CLOCK_BOOTTIME at the last tick
	asked   *child        // the poker that is to read; nil: nobody
	reading bool          // it has begun
	misses  int           // periods that passed since then
	hangs   int           // servers killed since the last answer
}

// watch is called once a period. It sees to it that a server which hangs is replaced, and returns why the mount cannot go on.
func (k *keeper) watch() error {
	w := &k.watchdog
	now := sinceBoot()
	slept := now-w.ticked > 2*k.probe // the machine was suspended, or this process frozen: nobody could answer
	w.ticked = now
	switch {
	case aborted(int(k.fuse.Fd())): // a server that is stopped does not see it
		return k.whyEnded()
	case k.server == nil, k.trial != nil && k.trial.step != preparing, slept: // a trial has its own deadlines
		w.misses = 0
		return nil
	case k.server.killed && now-k.server.killedAt < afterKill:
		return nil
	case k.server.killed:
		return k.abandon("the server cannot be killed")
	case w.asked == nil:
		k.askPoker()
		return nil
	}
	w.misses++
	limit := maxMisses
	if k.server.ready.IsZero() {
		limit = startMisses
	}
	switch {
	case w.misses < limit:
	case !w.reading, w.asked.stopped(): // it is the poker that hangs
		k.Logger.Error("poker does not answer, killing it", "pid", w.asked.pid())
		w.misses = 0
		w.asked.kill()
	case w.hangs > 0:
		return k.abandon("another server does not answer either")
	default:
		k.Logger.Error("server does not answer, killing it", "pid", k.server.pid(), "for", time.Duration(w.misses)*k.probe)
		w.misses = 0
		w.hangs++
		k.server.why = hang
		k.server.kill()
	}
	return nil
}

func (k *keeper) askPoker() {
	if k.poker == nil {
		return
	}
	k.watchdog.asked, k.watchdog.reading, k.watchdog.misses = k.poker, false, 0
	// A poker that does not hear it is dying, or is found out. It is never asked twice, so this does not block, and a deadline would be one
	// more timer to wake up for.
	_, _ = k.poker.conn.Write([]byte(k.point + "/" + aliveFile))
}

// hearPoker takes note of how far the poker's reading is.
func (k *keeper) hearPoker(r *report) {
	switch {
	case r.Probing:
		k.watchdog.reading, k.watchdog.misses = true, 0
	case r.Answered:
		k.watchdog = watchdog{ticked: k.watchdog.ticked}
	}
}

// abandon frees everybody who waits for the mount, which is dead then.
func (k *keeper) abandon(why string) error {
	k.Logger.Error("aborting the connection to the kernel", "mount", k.point, "err", why)
	return errors.Join(fmt.Errorf("%s: %w", why, errAborted), abort(k.point))
}

// sinceBoot counts the time that the machine was suspended, which Go's clock and timers do not.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano())
}
