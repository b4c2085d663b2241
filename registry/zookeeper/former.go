package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Session is what an ensemble knows a client by. Who has it may end it, so it is not for others to read.
type Session struct {
	ID       int64  `json:"id"`
	Password []byte `json:"password"`
}

// Session is the present one, zero before the first.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Session{c.session.id, c.session.password}
}

// Bury ends a session that nobody has any more: that of a process which was killed. Until the ensemble notices by itself, its place in
// the queue of a lock keeps all publishers of that name waiting. A session that is over already is no error.
func (c *Client) Bury(ctx context.Context, former Session) error {
	if former.ID == 0 || former.ID == c.Session().ID {
		return nil
	}
	l, err := c.usable(ctx)
	if err != nil {
		return err
	}
	w, err := c.dial(ctx, l.address)
	if err != nil {
		return fmt.Errorf("bury session %s: %w", sessionName(former.ID), err)
	}
	defer w.fail(errBuried)
	defer context.AfterFunc(ctx, func() { w.fail(expired(ctx)) })()
	t := &conversation{to: w.Conn, from: w.from}
	granted, _, err := t.connect(session{id: former.ID, password: former.Password}, c.options.SessionTimeout)
	if err != nil {
		return fmt.Errorf("bury session %s: %w", sessionName(former.ID), err)
	}
	if granted.id == 0 {
		return nil
	}
	if _, err := w.Conn.Write(request(xidClose, opClose).frame()); err != nil {
		return fmt.Errorf("bury session %s: %w", sessionName(former.ID), err)
	}
	if _, _, err := t.reply(xidClose); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("bury session %s: %w", sessionName(former.ID), err)
	}
	c.options.Logger.Debug("zookeeper session of a process before us ended", "session", sessionName(former.ID))
	return nil
}

var errBuried = errors.New("the session was only to be ended")
