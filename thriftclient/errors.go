package thriftclient

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/thrift/lib/go/thrift"
)

var (
	// ErrNoHosts: the source has not named a host yet, and there is no fallback.
	ErrNoHosts = errors.New("no hosts")
	// ErrClosed: the pool is closed.
	ErrClosed = errors.New("pool is closed")

	errLeft = errors.New("the host was ejected or removed while the call waited for a connection")
)

// CallError is every error of a call: what the transport, the protocol, a deadline or the server's TApplicationException have to
// say. Declared exceptions are none: generated code returns them as they are.
type CallError struct {
	Method   string
	Host     string // the last one that was tried; empty if there was none
	Attempts int    // how many hosts, or connections, were tried
	Sent     bool   // a part of the request has left, in any attempt: it may have been executed
	Err      error  // of the last attempt
}

// Error says it in one line: what, where, how often, and whether it may have been executed.
func (e *CallError) Error() string {
	var s strings.Builder
	s.WriteString(e.Method)
	if e.Host != "" {
		s.WriteString(" on " + e.Host)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&s, ", attempt %d", e.Attempts)
	}
	if e.Sent {
		s.WriteString(", sent")
	} else {
		s.WriteString(", not sent")
	}
	return s.String() + ": " + e.Err.Error()
}

// Unwrap is the error of the last attempt.
func (e *CallError) Unwrap() error { return e.Err }

// TExceptionType makes it a thrift.TException: of the type of what it wraps, of the transport if that is none.
func (e *CallError) TExceptionType() thrift.TExceptionType {
	var inner thrift.TException
	if errors.As(e.Err, &inner) {
		return inner.TExceptionType()
	}
	return thrift.TExceptionTypeTransport
}

// Timeout says whether a deadline was the reason.
func (e *CallError) Timeout() bool { return errors.Is(e.Err, context.DeadlineExceeded) }
