package thriftclient

import "golang.org/x/sys/unix"

// hungUp says whether the other side will say nothing more, even if there is something that we have not read yet: TLS announces its end,
// and what has come before the end of a stream hides it from who only peeks.
func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	_, err := unix.Poll(p, 0)
	return err == nil && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
