package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

var (
	// ErrEnsemble is what methods wrap, beside registry.ErrUnreachable, while updates are frozen: the ensemble is not the one of
	// last time, or it is and has forgotten something. Accept ends that.
	ErrEnsemble = errors.New("not the ZooKeeper ensemble of last time")

	// ErrClosed is what methods wrap after Close.
	ErrClosed = errors.New("ZooKeeper client is closed")

	// errLost is in every error after which nobody knows whether the ensemble did what it was asked to.
	errLost = errors.New("connection to ZooKeeper lost")

	// errAbandoned is in errors of calls whose ctx ended before the answer came.
	errAbandoned = errors.New("not answered in time")

	errUnanswered = errors.New("a call was not answered")
	errTooLarge   = errors.New("a message is larger than the buffer")
	errMalformed  = errors.New("a message is malformed")
	errExpired    = errors.New("session expired")
)

// answers are what an ensemble may say to what it was asked, and what that means here.
var answers = []struct{ zk, registry error }{
	{zk.ErrNoNode, registry.ErrNotExist},
	{zk.ErrNodeExists, registry.ErrExist},
	{zk.ErrNotEmpty, registry.ErrNotEmpty},
	{zk.ErrBadVersion, registry.ErrConflict},
	{zk.ErrNoAuth, registry.ErrPermission},
	{zk.ErrInvalidACL, registry.ErrPermission},
	{zk.ErrInvalidPath, registry.ErrInvalid},
	{zk.ErrNoChildrenForEphemerals, registry.ErrInvalid},
}

// losses are go-zookeeper's ways to say that there was no answer, or that there will be no more.
var losses = []error{
	errLost, zk.ErrConnectionClosed, zk.ErrClosing, zk.ErrNoServer, zk.ErrSessionExpired, zk.ErrSessionMoved,
}

func isLoss(err error) bool {
	for _, loss := range losses {
		if errors.Is(err, loss) {
			return true
		}
	}
	return false
}

// answer puts what go-zookeeper returned into words of the registry.
func answer(err error) error {
	if isLoss(err) {
		return fmt.Errorf("%w: %w", registry.ErrUnreachable, errLost)
	}
	for _, a := range answers {
		if errors.Is(err, a.zk) {
			return a.registry
		}
	}
	return err
}

// expired says why a ctx has ended, and a deadline also in the registry's words.
func expired(ctx context.Context) error {
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", registry.ErrTimeout, err)
	}
	return ctx.Err()
}

// reason names the cause of a lost connection in one word, for counters.
func reason(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, errUnanswered):
		return "unanswered"
	case errors.Is(err, errTooLarge):
		return "too-large"
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, zk.ErrSessionExpired), errors.Is(err, zk.ErrSessionMoved), errors.Is(err, errExpired):
		return "session"
	case errors.Is(err, ErrEnsemble):
		return "ensemble"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &network) && network.Timeout():
		return "silent"
	}
	return "other"
}
