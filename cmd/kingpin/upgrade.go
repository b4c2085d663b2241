package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/fs/keeper"
	"github.com/kingpinfs/kingpin/registry"
)

// keeperSocket is where the keeper takes orders, in the state directory. Only root may give any.
const keeperSocket = "keeper.sock"

// ordersPause is how often a keeper looks whether its state directory is there.
const ordersPause = 100 * time.Millisecond

// upgradeOrder is what kingpin upgrade asks of the keeper, one JSON object on a line; upgradeAnswer is what comes back.
type (
	upgradeOrder struct {
		Binary  string        `json:"binary"` // "": the one that the monitor was started from
		Timeout time.Duration `json:"timeout"`
	}
	upgradeAnswer struct {
		Error string `json:"error"` // "": the new server serves
	}
)

// orders is the keeper's side of the socket.
type orders struct {
	path     string
	self     string
	server   func() ([]string, error) // the server's flags, read anew
	upgrades chan keeper.Upgrade
	log      *slog.Logger
}

// serve takes orders until ctx ends. That it cannot does not keep the mount from being served.
func (o *orders) serve(ctx context.Context) {
	for { // the server makes the state directory, and takes none that holds what it does not know
		if _, err := os.Stat(filepath.Join(filepath.Dir(o.path), "FORMAT")); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(ordersPause):
		}
	}
	if err := os.Remove(o.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.log.Warn("no upgrades", "error", err)
		return
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", o.path)
	if err == nil {
		err = os.Chmod(o.path, 0o600)
	}
	if err != nil {
		o.log.Warn("no upgrades", "error", err)
		return
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	var taking sync.WaitGroup
	defer taking.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		taking.Go(func() { o.take(ctx, conn) })
	}
}

func (o *orders) take(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	var order upgradeOrder
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &order)
	}
	var answer upgradeAnswer
	if err == nil {
		err = o.upgrade(ctx, order)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	json.NewEncoder(conn).Encode(answer) // whoever asked may be gone
}

// upgrade goes on with the server of another binary, or of the same with the settings as they are now.
func (o *orders) upgrade(ctx context.Context, order upgradeOrder) error {
	binary := order.Binary
	if binary == "" {
		binary = o.self
	}
	flags, err := o.server()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	request := keeper.Upgrade{
		Server:  append([]string{binary, "__server"}, flags...),
		Poker:   []string{binary, "__poker"},
		Timeout: order.Timeout,
		Result:  result,
	}
	select {
	case o.upgrades <- request:
	case <-ctx.Done():
		return errors.New("the monitor is ending")
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return errors.New("the monitor is ending")
	}
}

// runUpgrade asks the keeper of this machine to go on with another server.
func runUpgrade(ctx context.Context, inv *invocation) error {
	order := upgradeOrder{Timeout: inv.duration("timeout")}
	if binary := inv.string("binary"); binary != "" {
		order.Binary = absolute(binary)
	}
	path := filepath.Join(inv.asked().state, keeperSocket)
	if t, err := inv.openTree(ctx); err == nil && t.monitor != nil {
		path = filepath.Join(t.monitor.State, keeperSocket)
	}
	conn, err := dialKeeper(ctx, path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return remote{"only root may upgrade the monitor", registry.ErrPermission}
	case err != nil:
		return hint(remote{fmt.Sprintf("no monitor with a mount takes orders at %s", path), registry.ErrUnreachable},
			"is it running? start it: kingpin monitor", "is it elsewhere? say --mount PATH or --state PATH")
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(order); err != nil {
		return remote{err.Error(), registry.ErrUnreachable}
	}
	var answer upgradeAnswer
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return remote{fmt.Sprintf("the monitor did not answer: %v", err), registry.ErrUnreachable}
	}
	if answer.Error != "" {
		return fmt.Errorf("not upgraded: %s", answer.Error)
	}
	inv.say("upgraded; nobody noticed")
	return nil
}

// dialKeeper waits a moment for a keeper whose server is serving already: it opens its socket last.
func dialKeeper(ctx context.Context, path string) (conn net.Conn, err error) {
	for deadline := time.Now().Add(10 * ordersPause); ; {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil || errors.Is(err, fs.ErrPermission) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(ordersPause / 4):
		}
	}
}
