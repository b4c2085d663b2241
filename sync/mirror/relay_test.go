package mirror_test

import (
	"context"
	"net"
	"sync"
	"testing"
)

// relay passes bytes on, until it forgets a connection.
type relay struct {
	net.Listener
	mu    sync.Mutex
	lost  chan struct{} // closed when the present connections are forgotten
	count int           // of the present connections
	most  int           // connections that are waited for
	full  chan struct{} // closed when there are so many
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{Listener: listener, lost: make(chan struct{}), full: make(chan struct{})}
	close(r.full)
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			lost := r.lost
			if r.count++; r.count == r.most {
				close(r.full)
			}
			r.mu.Unlock()
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			all.Go(func() { r.pass(out, in, lost) })
			all.Go(func() { r.pass(in, out, lost) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		cancel()
		r.forget()
		all.Wait()
	})
	return r
}

// hold keeps everything back until there are so many connections more.
func (r *relay) hold(connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count, r.most, r.full = 0, connections, make(chan struct{})
}

// pass copies until an end is closed, or silently stops when the connection is lost.
func (r *relay) pass(to, from net.Conn, lost chan struct{}) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		full := r.full
		r.mu.Unlock()
		select {
		case <-full:
		case <-lost:
		}
		select {
		case <-lost:
			return
		default:
		}
		if _, broken := to.Write(buffer[:n]); err != nil || broken != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

// forget drops what the present connections carry from now on, and says how many they are.
func (r *relay) forget() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.lost)
	n := r.count
	r.lost, r.count, r.most = make(chan struct{}), 0, 0
	return n
}
