package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/integration"
)

// writers is how many creates are under way at a time: enough to share the registry's transactions.
const writers = 64

// seed fills a state through the control socket, as many kingpin create would.
func seed(ctx context.Context, o integration.Options, configs int) (err error) {
	m, err := integration.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: writers,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(o.State, "control.sock"))
		},
	}}
	defer client.CloseIdleConnections()

	numbers := make(chan int)
	failed := make(chan error, writers)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range numbers {
				if err := create(ctx, client, i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	started := time.Now()
	for i := 0; i < configs && err == nil; i++ {
		select {
		case numbers <- i:
		case err = <-failed:
		}
	}
	close(numbers)
	group.Wait()
	select {
	case err = <-failed:
	default:
	}
	if err == nil {
		fmt.Printf("%d configs created in %s\n", configs, short(time.Since(started)))
	}
	return err
}

func create(ctx context.Context, client *http.Client, i int) error {
	request, err := json.Marshal(map[string]any{
		"name": configName(i), "dependencies": []string{"bench.dep"}, "body": body(0, i),
	})
	if err != nil {
		return err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kingpin/v1/names", bytes.NewReader(request))
	if err != nil {
		return err
	}
	post.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(post)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	words, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("create %s: %s: %s", configName(i), answer.Status, words)
	}
	return nil
}

func configName(i int) string { return fmt.Sprintf("config.manageddata.bench.c%05d", i) }
