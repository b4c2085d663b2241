package thriftclient

import (
	"context"
	"net"

	"github.com/apache/thrift/lib/go/thrift"
)

// wire is the lowest transport: a net.Conn whose deadline is set once a call, and which remembers of the present call what nobody
// above it can know: whether a byte of it has left, and how the connection failed.
//
// It is not a thrift.TSocket: that one sets the deadline anew for each read, so an answer that trickles never ends.
type wire struct {
	net.Conn
	sent   bool
	failed error
}

var _ thrift.TTransport = (*wire)(nil)

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		err = w.fail(err)
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	// TLS counts whole records, and a part of one means nothing to the server.
	w.sent = w.sent || n > 0
	if err != nil {
		err = w.fail(err)
	}
	return n, err
}

// fail remembers the first error. Thrift's readers go on reading after a timeout while the context of the call has time left;
// so what they are told is not a timeout.
func (w *wire) fail(err error) error {
	if w.failed == nil {
		w.failed = err
	}
	return final{err}
}

func (w *wire) Open() error                 { return nil }
func (w *wire) IsOpen() bool                { return w.failed == nil }
func (w *wire) Flush(context.Context) error { return nil }
func (w *wire) RemainingBytes() uint64      { return thrift.UnknownRemainingBytes }

// final is an error that nobody needs to try again.
type final struct{ error }

func (final) Timeout() bool   { return false }
func (f final) Unwrap() error { return f.error }
