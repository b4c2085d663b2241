package zookeeper

import (
	"maps"
	"time"
)

// Stats are a client's counters and the state of its connection at one moment.
type Stats struct {
	Connected bool      // to an ensemble, if only to a frozen one
	Since     time.Time // when that began, or ended
	Server    string    // address; empty while not connected
	Session   string    // 0x...; empty before the first
	Trouble   string    // why updates are not applied, or nothing can be asked; empty: all is well
	Frozen    bool      // until Accept
	Ensemble  Ensemble

	Connections int64            // so far
	Sessions    int64            // so far
	Reconnects  map[string]int64 // connections lost so far, by reason: closed, reset, silent, unanswered, session, too-large, malformed, ensemble, other

	Feeds   int // of Watch, Members and Dependency, and one for each member that is registered here
	Nodes   int // they follow
	Watches int // that the ensemble holds for us
	Members int // registered here
	Debts   int // nodes of ours that are still to be removed

	Reads   int64 // of nodes by feeds, so far
	Ignored int64 // children that did not belong where they were, so far
}

// Stats are the present ones.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Since:       c.since,
		Ensemble:    c.seenLocked(),
		Connections: c.connections,
		Sessions:    c.sessions,
		Reconnects:  maps.Clone(c.reconnects),
		Feeds:       c.feeds,
		Members:     len(c.joined),
		Debts:       len(c.debts),
		Reads:       c.reads.Load(),
		Ignored:     c.ignored.Load(),
	}
	for _, n := range c.nodes {
		if n.kind != identity {
			s.Nodes++
		}
		if n.kind != identity && n.armed != nowhere && c.link != nil {
			s.Watches++
		}
	}
	if c.session.id != 0 {
		s.Session = sessionName(c.session.id)
	}
	if c.trouble != nil {
		s.Trouble = c.trouble.Error()
	}
	if c.link != nil {
		s.Connected, s.Server, s.Frozen = true, c.link.server, c.link.freeze != nil
	}
	return s
}
