//go:build unix

package thriftclient

import (
	"net"
	"syscall"
)

// peek looks whether the other side has closed the connection, and whether it has said something that nobody asked for. It never
// waits.
type peek struct {
	conn   syscall.RawConn
	buffer [1]byte
	look   func(fd uintptr) bool // made once, as a closure costs an allocation
	open   bool
	unread bool
}

func newPeek(c net.Conn) *peek {
	p := &peek{}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			p.conn = raw
		}
	}
	p.look = func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), p.buffer[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.unread = n > 0
		p.open = p.unread && !hungUp(fd) || err == syscall.EAGAIN || err == syscall.EINTR
		return true
	}
	return p
}

// alive says whether the connection is open. Where one cannot look, it is taken to be.
func (p *peek) alive() (open, unread bool) {
	if p.conn == nil {
		return true, false
	}
	p.open, p.unread = false, false
	if err := p.conn.Read(p.look); err != nil {
		return false, false
	}
	return p.open, p.unread
}
