// Server is the service of test_service.thrift: it answers "pong", over the buffered transport and the binary protocol.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/examples/thrift/testservice"
)

type handler struct{}

func (handler) Ping(context.Context) (string, error) { return "pong", nil }

func main() {
	addr := flag.String("listen", ":8081", "where to listen")
	flag.Parse()
	if err := run(*addr); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	socket, err := thrift.NewTServerSocket(addr)
	if err != nil {
		return err
	}
	server := thrift.NewTSimpleServer4(testservice.NewTestServiceProcessor(handler{}), socket,
		thrift.NewTBufferedTransportFactory(4096), thrift.NewTBinaryProtocolFactoryConf(nil))
	if err := server.Listen(); err != nil {
		return err
	}
	stopped := context.AfterFunc(ctx, func() {
		_ = server.Stop() // it lets the running calls finish
	})
	defer stopped()
	return server.AcceptLoop()
}
