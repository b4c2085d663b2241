package thriftclient_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

func TestMain(m *testing.M) {
	if served, err := storm.Main(); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 30 * time.Second

// eventually waits for the outside world.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// serve starts a server in this process.
func serve(t testing.TB, o storm.Options) *storm.Server {
	t.Helper()
	s, err := storm.Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// open makes a pool of these hosts that is closed with the test.
func open(t testing.TB, o thriftclient.Options, endpoints ...string) *thriftclient.Pool {
	t.Helper()
	return openSource(t, thriftclient.Static(endpoints...), o)
}

// openSource makes a pool that is closed with the test. What the test does not bound is bounded by its patience alone: a machine that
// stalls is nobody's failure.
func openSource(t testing.TB, source thriftclient.Source, o thriftclient.Options) *thriftclient.Pool {
	t.Helper()
	o.Timeout, o.ConnectTimeout = cmp.Or(o.Timeout, patience), cmp.Or(o.ConnectTimeout, patience)
	p, err := thriftclient.OpenSource(source, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}

// ids are unique in this process.
var ids atomic.Int64

// echo makes one call and checks that the answer is ours.
func echo(ctx context.Context, p *thriftclient.Pool) (host string, err error) {
	return echoAfter(ctx, p, 0)
}

func echoAfter(ctx context.Context, p *thriftclient.Pool, wait time.Duration) (host string, err error) {
	id := ids.Add(1)
	answer, err := stormservice.NewStormClient(p).Echo(ctx, id, int32(wait.Microseconds()), nil)
	if err != nil {
		return "", err
	}
	if answer.ID != id {
		return "", fmt.Errorf("asked for %d, and got the answer of %d", id, answer.ID)
	}
	return answer.Host, nil
}

func mustEcho(t testing.TB, p *thriftclient.Pool) (host string) {
	t.Helper()
	host, err := echo(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return host
}
