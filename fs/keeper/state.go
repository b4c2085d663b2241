package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// state is what a keeper must know to go on with the mount of one before it. It is kept, beside the descriptor of the connection, in
// memory that outlives the process as long as somebody has it open: the service manager.
type state struct {
	Minor           uint32 // of the mount's device number
	Init, InitReply []byte
	Incarnation     uint32 // of the last server
	Started         time.Time
	Causes          Causes
	LastDeath       string
	Servers         []identity // that may still be alive
	Left            bool       // the keeper ended on purpose
}

// stateSize is one page: the kernel does not stop in the middle of one to kill the writer.
const stateSize = 4096

// maxDeath bounds LastDeath there, in bytes.
const maxDeath = 512

// save writes the state down. It is done before a server with a new incarnation is started.
func (k *keeper) save() {
	if k.state == nil {
		return
	}
	s := state{
		Minor: k.minor, Init: k.init, InitReply: k.reply, Incarnation: k.incarnation,
		Started: k.started, Causes: k.causes, LastDeath: strings.ToValidUTF8(k.lastDeath[:min(len(k.lastDeath), maxDeath)], ""),
		Left: k.left,
	}
	for _, c := range k.children {
		if c != k.poker && !c.reaped {
			s.Servers = append(s.Servers, c.identity)
		}
	}
	text, err := json.Marshal(s)
	if err == nil && len(text) > stateSize {
		err = unix.EFBIG
	}
	if err == nil {
		page := bytes.Repeat([]byte(" "), stateSize)
		copy(page, text)
		_, err = k.state.WriteAt(page, 0)
	}
	if err != nil {
		k.Logger.Error("cannot note down what the next keeper needs", "err", err)
	}
}

// newState makes the memory for it.
func newState() (*os.File, error) {
	fd, err := unix.MemfdCreate(storedState, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for the state: %w", err)
	}
	return os.NewFile(uintptr(fd), storedState), nil
}

// takeBack goes on with the mount that an earlier keeper has left, if what it parked is still good. Otherwise it lets go of that.
func (k *keeper) takeBack(parked map[string]*os.File) {
	fuse, memory := parked[storedFUSE], parked[storedState]
	s, err := k.check(fuse, memory)
	if err != nil {
		if len(parked) > 0 {
			k.Logger.Warn("cannot go on with the mount of the last keeper", "err", err)
		}
		for _, f := range parked {
			f.Close()
		}
		k.manager.unpark()
		return
	}
	k.fuse, k.state, k.tookBack = fuse, memory, true
	k.minor, k.init, k.reply, k.incarnation = s.Minor, s.Init, s.InitReply, s.Incarnation
	k.started, k.causes, k.lastDeath, k.died = s.Started, s.Causes, s.LastDeath, time.Now()
	why := upgrade
	if !s.Left {
		why, k.lastDeath = crash, "its keeper died"
	}
	k.causes.add(why)
	k.Logger.Info("going on with the mount of the last keeper", "mount", k.point, "incarnation", s.Incarnation, "left", s.Left)
	for _, p := range s.Servers {
		p.outlive(k.grace, k.Logger)
	}
}

// check says whether the mount on top of the mount point is alive and the one that was parked.
func (k *keeper) check(fuse, memory *os.File) (state, error) {
	var s state
	if fuse == nil || memory == nil {
		return s, errors.New("descriptors are missing")
	}
	text := make([]byte, stateSize)
	n, err := memory.ReadAt(text, 0)
	if n != stateSize {
		return s, fmt.Errorf("read the state: %d bytes: %w", n, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the state: %w", err)
	}
	stack, err := mountsOn(k.point)
	switch {
	case err != nil:
		return s, err
	case len(stack) == 0 || stack[len(stack)-1].fsType != fsType || stack[len(stack)-1].minor != s.Minor:
		return s, fmt.Errorf("it is not on top of %s any more", k.point)
	case aborted(int(fuse.Fd())):
		return s, errAborted
	case len(s.Init) == 0:
		return s, errors.New("it was never served")
	}
	return s, nil
}
