package keeper

import (
	"encoding/json"
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// aliveFile is what is read through the mount to see whether the server answers: no kernel may cache it. A server that has no
// such file answers as well.
const aliveFile = ".status/alive"

// answerProbes is the poker's third hand: it reads the path that the keeper sends, says so before and after, and begins again.
// It has a thread of its own, so that neither a long batch of pokes nor a poke that waits for a directory looks like a server
// that hangs, and it holds nothing that anybody would miss while it waits: see Poke.
func answerProbes() {
	runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
	err := errors.Join(unix.Unshare(unix.CLONE_FILES), unix.Close(pokerFUSE), unix.Close(pokerServer))
	for path := make([]byte, unix.PathMax); err == nil; {
		var n int
		err = again(func() (err error) {
			n, err = unix.Read(pokerKeeper, path)
			return err
		})
		if n <= 0 { // the keeper is gone
			return
		}
		err = errors.Join(err, tell(report{Probing: true}))
		if err == nil {
			readOnceThrough(string(path[:n]))
			err = tell(report{Answered: true})
		}
	}
}

// readOnceThrough opens, reads and closes path. An error is an answer too.
func readOnceThrough(path string) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return
	}
	_ = again(func() error {
		_, err := unix.Read(fd, make([]byte, 64))
		return err
	})
	unix.Close(fd)
}

// tell reports to the keeper.
func tell(r report) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return again(func() error {
		_, err := unix.Write(pokerKeeper, text)
		return err
	})
}
