// Client calls the service of test_service.thrift, wherever it is: it finds the servers in the mount.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/kingpinfs/kingpin/examples/thrift/testservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

func main() {
	serverset := flag.String("serverset", "discovery.test_service.prod", "the servers' `name` in the mount, or a path")
	flag.Parse()
	if err := run(*serverset); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(serverset string) error {
	pool, err := thriftclient.Open(serverset, thriftclient.Options{Idempotent: []string{"ping"}})
	if err != nil {
		return err
	}
	defer pool.Close(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := pool.Wait(ctx); err != nil { // a service that has never been registered has no file
		return err
	}
	pong, err := testservice.NewTestServiceClient(pool).Ping(ctx)
	if err != nil {
		return err
	}
	fmt.Println(pong)
	return nil
}
