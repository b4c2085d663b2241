package thriftclient_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// A pool is made once, and closed in the end; a generated client is made where it is needed.
func Example() {
	server, err := storm.Serve(storm.Options{}) // in reality it is somewhere else, and registers itself
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	mount, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(mount)
	if err := os.Mkdir(filepath.Join(mount, "serverset"), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mount, "serverset/discovery.storm.test"), []byte(server.Addr()+"\n"), 0o644); err != nil {
		log.Fatal(err)
	}

	pool, err := thriftclient.Open("discovery.storm.test", thriftclient.Options{
		Dir:        mount, // a test needs no more than a directory with a file in it
		Timeout:    time.Second,
		Idempotent: []string{"echo"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	client := stormservice.NewStormClient(pool)
	answer, err := client.Echo(context.Background(), 42, 0, nil)
	fmt.Println(answer.ID, err)
	// Output: 42 <nil>
}

// Sent tells what may have been executed from what certainly was not.
func ExampleCallError() {
	pool, err := thriftclient.OpenSource(thriftclient.Static("127.0.0.1:1"), thriftclient.Options{Attempts: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	_, err = stormservice.NewStormClient(pool).Once(context.Background(), 7)
	var failed *thriftclient.CallError
	if errors.As(err, &failed) && !failed.Sent {
		fmt.Printf("%s was not executed, and may be tried later\n", failed.Method)
	}
	// Output: once was not executed, and may be tried later
}

// A source is any function that yields the hosts: the present ones, and again after each change.
func ExampleOpenSource() {
	server, err := storm.Serve(storm.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	pool, err := thriftclient.OpenSource(thriftclient.Static(server.Addr()), thriftclient.Options{Hedge: true, Idempotent: []string{"*"}})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())
	if err := pool.Wait(context.Background()); err != nil {
		log.Fatal(err)
	}
	for _, h := range pool.Hosts() {
		fmt.Println(h.State, h.Weight)
	}
	// Output: in 1
}
