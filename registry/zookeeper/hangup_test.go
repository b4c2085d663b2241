package zookeeper_test

import (
	"context"
	"net"
	"testing"

	"github.com/kingpinfs/kingpin/integration/server"
)

// late is a connection whose reader learns of its end when he is told to.
type late struct {
	*net.TCPConn
	told <-chan struct{}
}

func (l late) Read(p []byte) (int, error) {
	n, err := l.TCPConn.Read(p)
	if err != nil {
		<-l.told
	}
	return n, err
}

// TestNobodyIsConnectedToADeadServer: also before the client has had the time to read that, as on a machine that has much else to do. Who
// opens a file for writing is let in otherwise, and loses what he writes.
func TestNobodyIsConnectedToADeadServer(t *testing.T) {
	t.Parallel()
	z := server.StartZooKeeper(t)
	told := make(chan struct{})
	o := hasty
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return late{conn.(*net.TCPConn), told}, nil
	}
	c := open(t, z.Addr, o)
	connected(t, c)
	if !c.Connected() {
		t.Error("there is a connection, and it is not said so")
	}
	z.Kill()
	if c.Connected() {
		t.Error("a server that is dead is connected")
	}
	close(told)
	must(t, z.Start())
	connected(t, c)
}
