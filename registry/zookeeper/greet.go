package zookeeper

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

const (
	passwordSize = 16
	// maxWatchMessage bounds one message that asks for watches; servers refuse those over 1 MiB, or less if so configured.
	maxWatchMessage = 128 << 10
	// maxGreeting bounds what a server may send before it is known to be one.
	maxGreeting = 1 << 20
)

// conversation is a new connection before go-zookeeper gets it.
//
// go-zookeeper has a session for as long as it has the same Conn, and gives nobody its password. So the session is resumed
// here, and its Conn is told the answer (see wire). Three more things belong to this moment, when nothing else is said on
// the connection: who we are, which ensemble this is, and what we watch.
type conversation struct {
	to    io.Writer
	from  *bufio.Reader
	heard func(zk.Event)
	zxid  int64 // of the last reply
}

// connect resumes a session, or asks for one if it is zero. It returns the granted one, zero if the old one has expired, and the
// server's answer as it was. No zxid is asked for: a server that is behind would hang up without a word; ensemble makes it catch up,
// and then it can be asked why.
func (t *conversation) connect(s session, timeout time.Duration) (granted session, answer []byte, err error) {
	password := s.password
	if len(password) == 0 {
		password = make([]byte, passwordSize)
	}
	m := make(message, 4, 64).int32(0).int64(0).int32(int32(timeout.Milliseconds())).int64(s.id).string(string(password))
	if _, err := t.to.Write(m.frame()); err != nil {
		return session{}, nil, err
	}
	answer, err = t.read()
	if err != nil {
		return session{}, nil, fmt.Errorf("greeting: %w", err)
	}
	var r connectResponse
	rest, err := decode(answer[4:], &r)
	if err != nil || r.Password < 0 || int(r.Password) > len(rest) {
		return session{}, nil, fmt.Errorf("greeting: %w", errMalformed)
	}
	if r.Session == 0 || r.Timeout <= 0 {
		return session{}, nil, nil
	}
	return session{
		id:       r.Session,
		password: append([]byte(nil), rest[:r.Password]...),
		timeout:  time.Duration(r.Timeout) * time.Millisecond,
	}, answer, nil
}

// ensemble says who we are, and finds out how far this ensemble is and which it is: by the creation of the node at root. forgotten is
// one of the latest changes that it does not know, if there is one.
func (t *conversation) ensemble(auth, root string, latest []Change) (found Ensemble, forgotten Change, err error) {
	var all []byte
	if auth != "" {
		all = append(all, request(xidAuth, opAuth).int32(0).string("digest").string(auth).frame()...)
	}
	// sync makes the server catch up with its leader.
	all = append(all, request(xidSync, opSync).string(root).frame()...)
	all = append(all, request(xidExists, opExists).string(root).bool(false).frame()...)
	for _, change := range latest {
		all = append(all, request(xidExists, opExists).string(change.Path).bool(false).frame()...)
	}
	if _, err := t.to.Write(all); err != nil {
		return found, forgotten, err
	}
	if auth != "" {
		if _, code, err := t.reply(xidAuth); err != nil {
			return found, forgotten, fmt.Errorf("authentication: %w", err)
		} else if code != 0 {
			return found, forgotten, fmt.Errorf("authentication: code %d: %w", code, registry.ErrPermission)
		}
	}
	if _, code, err := t.reply(xidSync); err != nil || code != 0 {
		return found, forgotten, fmt.Errorf("sync: code %d: %w", code, errors.Join(err, errLost))
	}
	found.Zxid = t.zxid
	s, exists, err := t.exists(root)
	if err != nil {
		return found, forgotten, err
	}
	if exists {
		found.Root = born(s.Czxid, s.Ctime)
	}
	for _, change := range latest {
		s, exists, err := t.exists(change.Path)
		if err != nil {
			return found, forgotten, err
		}
		// A node that does not exist may have been deleted since. That can be found out by looking, and spoils nothing.
		if exists && s.Mzxid < change.Zxid {
			forgotten = change
		}
	}
	return found, forgotten, nil
}

// exists reads the answer to a request for a node's stat.
func (t *conversation) exists(path string) (s stat, exists bool, err error) {
	body, code, err := t.reply(xidExists)
	switch {
	case err != nil:
		return s, false, fmt.Errorf("exists %s: %w", path, err)
	case code == codeNoNode:
		return s, false, nil
	case code != 0:
		return s, false, fmt.Errorf("exists %s: code %d", path, code)
	}
	_, err = decode(body, &s)
	return s, true, err
}

// watches are the paths whose changes the server tells, by how it looks at them.
type watches struct{ data, exist, child []string }

// rewatch asks for all changes after zxid. Those that have happened are heard before it returns.
func (t *conversation) rewatch(zxid int64, w watches) error {
	messages := 0
	for len(w.data)+len(w.exist)+len(w.child) > 0 {
		room := maxWatchMessage
		m := request(xidSetWatches, opSetWatches).int64(zxid)
		for _, list := range []*[]string{&w.data, &w.exist, &w.child} {
			n := 0
			for n < len(*list) && room > 0 {
				room -= 4 + len((*list)[n])
				n++
			}
			m = m.strings((*list)[:n])
			*list = (*list)[n:]
		}
		if _, err := t.to.Write(m.frame()); err != nil {
			return err
		}
		messages++
	}
	for range messages {
		if _, code, err := t.reply(xidSetWatches); err != nil || code != 0 {
			return fmt.Errorf("restore watches: code %d: %w", code, errors.Join(err, errLost))
		}
	}
	return nil
}

// reply reads messages until the one with xid; those before it can only be events.
func (t *conversation) reply(xid int32) (body []byte, code int32, err error) {
	for {
		frame, err := t.read()
		if err != nil {
			return nil, 0, err
		}
		var h replyHeader
		body, err := decode(frame[4:], &h)
		if err != nil {
			return nil, 0, err
		}
		switch h.XID {
		case xid:
			t.zxid = max(t.zxid, h.Zxid)
			return body, h.Err, nil
		case xidEvent:
			var e eventHeader
			path, err := decode(body, &e)
			if err != nil || e.Path < 0 || int(e.Path) > len(path) {
				return nil, 0, errMalformed
			}
			t.heard(zk.Event{Type: zk.EventType(e.Type), State: zk.State(e.State), Path: string(path[:e.Path])})
		default:
			return nil, 0, fmt.Errorf("xid %d, not %d: %w", h.XID, xid, errMalformed)
		}
	}
}

// read reads one message with its length.
func (t *conversation) read() ([]byte, error) {
	length, err := t.from.Peek(4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length)
	if n > maxGreeting {
		return nil, fmt.Errorf("%d bytes, is this ZooKeeper?: %w", n, errMalformed)
	}
	frame := make([]byte, 4+n)
	_, err = io.ReadFull(t.from, frame)
	return frame, err
}
