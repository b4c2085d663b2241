package zookeeper_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is the wire between a client and a server, for tests that cut it.
type proxy struct {
	Addr     string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	moved  *sync.Cond
	target string
	frozen bool // nothing is forwarded, but connections are taken
	shut   bool // connections are taken and dropped
	ended  bool
	conns  map[net.Conn]bool
	dials  int

	see func(op int32) verdict
}

// verdict is what becomes of a client's message.
type verdict int

const (
	pass      verdict = iota // it is forwarded
	cutBefore                // the connection is lost, and the server has not got it
	cutAfter                 // the connection is lost, and the server has got it
	swallow                  // the server does not get it, and the connection stays
)

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Addr: listener.Addr().String(), listener: listener, target: target, conns: make(map[net.Conn]bool)}
	p.moved = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.change(func() { p.ended = true })
		p.Cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.dials++
		target, drop := p.target, p.shut || p.ended
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if drop || err != nil {
			client.Close()
			if err == nil {
				server.Close()
			}
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.running.Go(func() { p.forward(client, server, true) })
		p.running.Go(func() { p.forward(server, client, false) })
	}
}

// forward takes messages from one side to the other, whole ones.
func (p *proxy) forward(from, to net.Conn, asks bool) {
	defer p.drop(from, to)
	for first := true; ; first = false {
		head := make([]byte, 4)
		_, err := io.ReadFull(from, head)
		var body []byte
		if err == nil {
			body = make([]byte, binary.BigEndian.Uint32(head))
			_, err = io.ReadFull(from, body)
		}
		p.mu.Lock()
		for p.frozen && !p.ended { // nor does it tell that the other end has gone
			p.moved.Wait()
		}
		see := p.see
		p.mu.Unlock()
		if err != nil {
			return
		}
		var v verdict
		if asks && !first && see != nil {
			v = see(int32(binary.BigEndian.Uint32(body[4:])))
		}
		switch v {
		case swallow:
			continue
		case cutBefore:
			return
		case cutAfter:
			from.Close() // the answer finds nobody
		}
		if _, err := to.Write(append(head, body...)); err != nil || v == cutAfter {
			return
		}
	}
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
		delete(p.conns, conn)
	}
}

func (p *proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.moved.Broadcast()
}

// Cut drops all connections; new ones are taken.
func (p *proxy) Cut() {
	p.change(func() {
		for conn := range p.conns {
			conn.(*net.TCPConn).SetLinger(0) // a reset, not a goodbye
			conn.Close()
		}
	})
}

// Freeze forwards nothing any more, though connections stay and new ones are taken: half open. Thaw ends that.
func (p *proxy) Freeze() { p.change(func() { p.frozen = true }) }
func (p *proxy) Thaw()   { p.change(func() { p.frozen = false }) }

// Shut cuts and takes no new connections until Open.
func (p *proxy) Shut() {
	p.change(func() { p.shut = true })
	p.Cut()
}
func (p *proxy) Open() { p.change(func() { p.shut = false }) }

// To sends new connections to another server.
func (p *proxy) To(target string) { p.change(func() { p.target = target }) }

// See has each message of a client judged by its operation, in the goroutine that forwards it.
func (p *proxy) See(see func(op int32) verdict) { p.change(func() { p.see = see }) }

// Once judges the first message of an operation, and lets everything else pass. It returns how many of them were seen.
func (p *proxy) Once(op int32, v verdict, then func()) (seen func() int) {
	var n atomic.Int32
	p.See(func(is int32) verdict {
		if is != op || n.Add(1) != 1 {
			return pass
		}
		if then != nil {
			then()
		}
		return v
	})
	return func() int { return int(n.Load()) }
}

// The operations of ZooKeeper's protocol.
const (
	opCreate     = 1
	opDelete     = 2
	opGet        = 4
	opSetWatches = 101
	opChildren   = 12
	opMulti      = 14
)
