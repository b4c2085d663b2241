package zookeeper

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// firstLimit is the largest message that a connection takes at first. go-zookeeper has a buffer of this size, and of
	// 1.5 MiB if it is not told; a serverset with two thousand members fits into it.
	firstLimit = 128 << 10
	// lastLimit is what the limit may grow to, when a server has something larger to say.
	lastLimit = 64 << 20
	// sendLimit is go-zookeeper's buffer for what we say: at most a member's data and two paths.
	sendLimit = 16 << 10

	// zxidAt is the place of the zxid in a message with its length.
	zxidAt = 8
)

// wire is a greeted connection as go-zookeeper sees it: a new one. It swallows the greeting that go-zookeeper writes and
// answers it with the one that the server has given.
//
// It sees each message of the server before go-zookeeper does. That is where it is known how far the ensemble is, and where
// lengths are checked that go-zookeeper trusts. go-zookeeper is not told any zxid: it has no use for it but to restore watches, of
// which there are none when it gets the connection; and it looks for them when it already receives, without a lock. Should it find
// some by then, it asks for all changes since ever, and they are heard once more than needed.
type wire struct {
	net.Conn // raw, or TLS over it
	raw      net.Conn
	from     *bufio.Reader
	answer   []byte // to the greeting, until it is read
	left     int    // of the message that is being read
	limit    int
	passed   func(zxid int64) // the ensemble has got so far

	greeted atomic.Bool
	once    sync.Once
	lost    chan struct{}
	cause   error // valid when lost is closed
}

// fail breaks the connection. What we have sent and the network has not taken is taken back, so that nothing of it arrives
// long afterwards.
func (w *wire) fail(cause error) {
	w.once.Do(func() {
		w.cause = cause
		if tcp, ok := w.raw.(interface{ SetLinger(int) error }); ok {
			tcp.SetLinger(0)
		}
		w.raw.Close() // not that of TLS, which says goodbye first
		close(w.lost)
	})
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.answer) > 0 {
		n := copy(p, w.answer)
		w.answer = w.answer[n:]
		return n, nil
	}
	n, err := w.read(p)
	if err != nil {
		w.fail(err)
		return n, fmt.Errorf("%w: %w", errLost, err)
	}
	return n, nil
}

func (w *wire) read(p []byte) (int, error) {
	if w.left == 0 {
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	n, err := w.from.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// next looks at the header of the next message.
func (w *wire) next() error {
	head, err := w.from.Peek(4 + replyHeaderSize)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head))
	var h replyHeader
	if _, err := decode(head[4:], &h); err != nil || size < replyHeaderSize {
		return errMalformed // go-zookeeper would read beyond its end
	}
	if size > w.limit {
		return &oversize{size}
	}
	if h.XID >= 0 && h.Zxid > 0 {
		w.passed(h.Zxid)
		copy(head[zxidAt:], make([]byte, 8))
	}
	w.left = 4 + size
	return nil
}

// oversize is a message that the next connection must have room for.
type oversize struct{ size int }

func (o *oversize) Error() string { return fmt.Sprintf("%v: %d bytes", errTooLarge, o.size) }
func (o *oversize) Unwrap() error { return errTooLarge }

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if !w.greeted.Swap(true) {
		return len(p), nil
	}
	n, err := w.Conn.Write(p)
	if err != nil {
		w.fail(err)
		return n, fmt.Errorf("%w: %w", errLost, err)
	}
	return n, nil
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.fail(net.ErrClosed)
	return nil
}

// handOver gives go-zookeeper the connection. It will never get another: its second dial fails, and it pauses before each
// until it is closed.
func (w *wire) handOver(s session, heard func(zk.Event), log zk.Logger) (*zk.Conn, error) {
	var dialled atomic.Bool
	dial := func(string, string, time.Duration) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, errors.New("a connection is used once")
		}
		return w, nil
	}
	conn, _, err := zk.Connect([]string{"zookeeper:2181"}, s.timeout,
		zk.WithDialer(dial),
		zk.WithHostProvider(&onlyHost{}),
		zk.WithEventCallback(heard),
		zk.WithLogger(log),
		zk.WithLogInfo(false),
		zk.WithMaxBufferSize(w.limit),
		zk.WithMaxConnBufferSize(sendLimit),
	)
	return conn, err
}

// onlyHost tells go-zookeeper after its first connection that all hosts have been tried.
type onlyHost struct{ tried bool }

func (h *onlyHost) Init([]string) error { return nil }
func (h *onlyHost) Len() int            { return 1 }
func (h *onlyHost) Connected()          {}

func (h *onlyHost) Next() (server string, again bool) {
	again, h.tried = h.tried, true
	return "zookeeper:2181", again
}
