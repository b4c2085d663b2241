package keeper

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// StatusFatal is the exit status of a server that no other server could replace: the keeper does not start another one,
// but unmounts and returns.
const StatusFatal = 70

const (
	serverFUSE   = 3
	serverKeeper = 4
	serverPoker  = 5
)

var errTrial = errors.New("this server is on trial: Prepared comes first")

// resendTimeout bounds how long Resend waits for the server before this one to be gone with all its threads.
const resendTimeout = 100 * time.Millisecond

// Attachment is what a server has from its keeper.
type Attachment struct {
	// FUSE is the connection to the kernel, shared with the keeper and with the servers after this one: it must stay
	// blocking, and closing it ends nothing. On kernels that cannot resend it becomes this server's own (clone.go) in SaveInit or,
	// if another server saved, before Attach or Prepared returns; the number stays.
	FUSE *os.File

	Init        []byte // the kernel's INIT request, as an earlier server saved it; nil: this one has to read it from FUSE
	InitReply   []byte // what that server answered
	Incarnation uint32 // 1, 2, 3...: no two servers of one mount have the same; 0 in a trial, until Prepared returns
	Mount       string // the mount point, absolute, without symbolic links

	Started   time.Time // when the keeper mounted
	Restarts  int       // servers that died since then
	Causes    Causes    // why; and those that were upgraded
	LastDeath string    // how the last of them died, in words

	trial   bool
	keeper  *os.File
	pokes   *os.File
	poker   *Poker
	saved   chan struct{}
	reaped  chan struct{}
	quiesce chan struct{}
	done    chan struct{}
	joined  sync.WaitGroup
}

// Attach is a server's first act: it takes the descriptors and the state that the keeper started it with.
func Attach() (*Attachment, error) {
	for fd := serverFUSE; fd <= serverPoker; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w: a server is started by its keeper only", fd, err)
		}
	}
	nameProcess()
	a := &Attachment{
		FUSE:    os.NewFile(serverFUSE, device),
		saved:   make(chan struct{}, 1),
		reaped:  make(chan struct{}),
		quiesce: make(chan struct{}),
		done:    make(chan struct{}),
	}
	var err error
	if a.keeper, err = polled(serverKeeper, "keeper"); err != nil {
		return nil, err
	}
	if a.pokes, err = polled(serverPoker, "poker"); err != nil {
		return nil, err
	}
	if err := a.greet(); err != nil {
		return nil, err
	}
	return a, nil
}

// greet takes the keeper's hello in. Unless it is that of a trial, this server is the one that serves from now on.
func (a *Attachment) greet() error {
	var h hello
	if err := receive(a.keeper, make([]byte, maxMessage), &h); err != nil {
		return fmt.Errorf("hear from the keeper: %w", err)
	}
	a.Mount, a.Init, a.InitReply, a.trial = h.Mount, h.Init, h.InitReply, h.Trial
	if a.trial {
		return nil
	}
	a.Incarnation, a.Started, a.LastDeath = h.Incarnation, h.Started, h.LastDeath
	a.Causes, a.Restarts = h.Causes, h.Causes.died()
	if a.Init != nil {
		if err := a.ownQueue(a.InitReply); err != nil {
			return err
		}
	}
	var err error
	if a.poker, err = newPoker(a.pokes, h.Incarnation, h.Poker); err != nil {
		return err
	}
	a.joined.Go(a.listen)
	a.joined.Go(a.poker.listen)
	return nil
}

// Prepared is called when the server knows that it can serve this mount: it has found that it answers Init with InitReply. In
// a trial of another server than the present one, it returns when that one has ended and this one is to serve; otherwise at once.
// Before it returns a server must not read from FUSE, nor take a lock that the present one may hold.
func (a *Attachment) Prepared() error {
	if !a.trial {
		return nil
	}
	if err := send(a.keeper, report{Prepared: true}); err != nil {
		return fmt.Errorf("tell the keeper prepared: %w", err)
	}
	return a.greet()
}

// Refuse tells the keeper why this server is about to end without having served, for whoever asked for it.
func (a *Attachment) Refuse(cause error) error {
	if err := send(a.keeper, report{Refused: cause.Error()}); err != nil {
		return fmt.Errorf("tell the keeper why not: %w", err)
	}
	return nil
}

// Poker is the poker process as this server sees it; nil in a trial.
func (a *Attachment) Poker() *Poker { return a.poker }

// Done is closed when the keeper is gone. The server then has nobody to unmount or replace it, and ends.
func (a *Attachment) Done() <-chan struct{} { return a.done }

// Quiesce is closed when another server is to take over. This one publishes to the end what it has begun, answers what it has read, and
// ends; it goes on reading as long as that takes, since nobody else does.
func (a *Attachment) Quiesce() <-chan struct{} { return a.quiesce }

// SaveInit gives the INIT exchange into the keeper's hands, once, and returns when it has it. It comes after the reply was
// written to the kernel: were it saved before, and this server killed in between, the next one would throw the same reply
// away and the kernel would wait for ever. No other request is read before it returns.
func (a *Attachment) SaveInit(request, reply []byte) error {
	if err := send(a.keeper, report{Init: request, InitReply: reply}); err != nil {
		return fmt.Errorf("save the INIT exchange: %w", err)
	}
	select {
	case <-a.saved:
		return a.ownQueue(reply)
	case <-a.done:
		return fmt.Errorf("save the INIT exchange: the keeper is gone: %w", unix.EPIPE)
	}
}

// Ready tells the keeper that requests are being answered.
func (a *Attachment) Ready() error {
	if a.trial {
		return errTrial
	}
	if err := send(a.keeper, report{Ready: true}); err != nil {
		return fmt.Errorf("tell the keeper ready: %w", err)
	}
	return nil
}

// Resend has the kernel deliver once more every request that the server before this one had read and not answered. It
// comes before this server reads its first request, or that one is delivered twice. EINVAL: the kernel is older than 6.9.
func (a *Attachment) Resend() error {
	if a.trial {
		return errTrial
	}
	// The last threads of the dead server may still be taking a request in. This is a matter of microseconds, unless one
	// of them is stuck elsewhere, in which case it will not take one any more.
	select {
	case <-a.reaped:
	case <-a.done:
	case <-time.After(resendTimeout):
	}
	if _, err := a.FUSE.Write(framed(notifyResend, nil)); err != nil {
		return fmt.Errorf("ask the kernel for the unanswered requests: %w", err)
	}
	return nil
}

// Close gives the sockets back; the poker can then not be used any more. FUSE is closed as well.
func (a *Attachment) Close() error {
	a.keeper.Close()
	a.pokes.Close()
	a.joined.Wait()
	return a.FUSE.Close()
}

// listen hears the keeper until it is gone.
func (a *Attachment) listen() {
	defer close(a.done)
	var once struct{ reaped, quiesce sync.Once } // either may be said again
	buf := make([]byte, maxMessage)
	for {
		var n notice
		if err := receive(a.keeper, buf, &n); err != nil {
			return
		}
		switch {
		case n.Poker != 0:
			a.poker.changed(n.Poker) // an error here is an end of file for poker.listen
		case n.Saved:
			a.saved <- struct{}{}
		case n.Reaped:
			once.reaped.Do(func() { close(a.reaped) })
		case n.Stopping:
			a.poker.stop()
		case n.Quiesce:
			once.quiesce.Do(func() { close(a.quiesce) })
		}
	}
}
