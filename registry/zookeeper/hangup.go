package zookeeper

import (
	"errors"
	"syscall"
)

// hungUp says whether the other side has closed the connection, as far as the kernel knows: whoever reads it may not have had his turn
// yet, and on a busy machine somebody asks first. It takes nothing away from him.
func (w *wire) hungUp() (closed bool) {
	conn, ok := w.raw.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // it is closed here
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waits := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		closed = !waits && (n == 0 || err != nil)
	})
	return closed || err != nil
}
