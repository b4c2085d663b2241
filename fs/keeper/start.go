package keeper

import "slices"

// hello is what the server with the present incarnation has to know.
func (k *keeper) hello() hello {
	h := hello{
		Mount: k.point, Incarnation: k.incarnation, Init: k.init, InitReply: k.reply,
		Started: k.started, Causes: k.causes, LastDeath: k.lastDeath,
	}
	if k.poker != nil {
		h.Poker = uint32(k.poker.pid())
	}
	return h
}

// launch starts a server process with its first message.
func (k *keeper) launch(p program, h hello) (*child, error) {
	conn, its, err := pair("keeper")
	if err != nil {
		return nil, err
	}
	defer its.Close()
	err = send(conn, h)
	var server *child
	if err == nil {
		server, err = k.spawn(p, k.Env, conn, k.fuse, its, k.pokes[0])
	}
	if err != nil {
		conn.Close()
	}
	return server, err
}

func (k *keeper) startServer() error {
	drain(k.pokes[0])
	drain(k.pokes[1])
	k.incarnation++
	k.save()
	server, err := k.launch(k.serverProgram, k.hello())
	if err != nil {
		k.Logger.Error("cannot start the server", "err", err)
		return err
	}
	k.server, k.oomKills = server, oomKills()
	k.save()
	k.sayReaped()
	return nil
}

func (k *keeper) startPoker() error {
	conn, its, err := pair("prober")
	if err != nil {
		return err
	}
	defer its.Close()
	drain(k.pokes[1])
	// Without preemption signals the runtime does not interrupt the poker's calls.
	env := append(slices.Clone(k.Env), "GODEBUG=asyncpreemptoff=1")
	poker, err := k.spawn(k.pokerProgram, env, conn, k.fuse, k.pokes[1], its)
	if err != nil {
		conn.Close()
		k.Logger.Error("cannot start the poker", "err", err)
		return err
	}
	k.poker = poker
	k.server.say(notice{Poker: uint32(poker.pid())})
	return nil
}

// sayReaped tells the server when every server before it is gone.
func (k *keeper) sayReaped() {
	for _, c := range k.children {
		if c != k.server && c != k.poker && c != k.trying() {
			return
		}
	}
	k.server.say(notice{Reaped: true})
}
