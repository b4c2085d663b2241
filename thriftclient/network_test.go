package thriftclient_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// badNetwork is a proxy before a server that now and then cuts, delays or drops what goes through, in the middle of it.
func badNetwork(t *testing.T, server string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr := strange(t, func(c net.Conn, _ thrift.TProtocol) {
		s, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		defer s.Close()
		stop := context.AfterFunc(ctx, func() { c.Close(); s.Close() })
		defer stop()
		var both sync.WaitGroup
		both.Go(func() { badly(ctx, s, c) })
		both.Go(func() { badly(ctx, c, s) })
		both.Wait()
	})
	t.Cleanup(cancel) // before that of strange, which waits for all of them
	return addr
}

// badly copies until something happens to the connection.
func badly(ctx context.Context, to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		part := rand.IntN(n + 1)
		switch rand.IntN(60) {
		case 0: // hang up, after a part of it
			_, _ = to.Write(b[:part])
			return
		case 1: // fall silent, after a part of it
			_, _ = to.Write(b[:part])
			_, _ = io.Copy(io.Discard, from)
			return
		case 2, 3: // be late, maybe too late
			select {
			case <-time.After(rand.N(60 * time.Millisecond)):
			case <-ctx.Done():
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestNothingIsSentTwiceThroughABadNetwork: whatever happens on the way, and whenever the caller gives up, a call that may not be sent twice
// is executed once at most, once if it was answered, not at all if it was not sent; and every answer is one's own.
func TestNothingIsSentTwiceThroughABadNetwork(t *testing.T) {
	const callers, calls = 16, 50
	for name, o := range map[string]struct {
		server storm.Options
		pool   thriftclient.Options
	}{
		"buffered binary":            {},
		"framed compact, hedged":     {storm.Options{Transport: "framed", Protocol: "compact"}, thriftclient.Options{Transport: thriftclient.Framed, Protocol: thriftclient.Compact, Hedge: true}},
		"header, compact, multiplex": {storm.Options{Transport: "header", Service: "s"}, thriftclient.Options{Transport: thriftclient.Header, Protocol: thriftclient.Compact, Service: "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.server.Notes = t.TempDir()
			var addrs []string
			for range 3 {
				addrs = append(addrs, badNetwork(t, serve(t, o.server).Addr()))
			}
			o.pool.Idempotent, o.pool.Timeout = []string{"echo"}, 100*time.Millisecond
			p := open(t, o.pool, addrs...)
			var mu sync.Mutex
			answered, unsent := map[int64]bool{}, map[int64]bool{}
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					c := stormservice.NewStormClient(p)
					for range calls {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.ExpFloat64()*float64(20*time.Millisecond)))
						if rand.IntN(2) == 0 {
							ctx, cancel = context.WithCancel(t.Context())
							stop := time.AfterFunc(time.Duration(rand.ExpFloat64()*float64(20*time.Millisecond)), cancel)
							defer stop.Stop()
						}
						id := ids.Add(1)
						answer, err := c.Once(ctx, id)
						var failed *thriftclient.CallError
						mu.Lock()
						switch {
						case err == nil && answer.ID != id:
							t.Errorf("asked for %d, and got the answer of %d", id, answer.ID)
						case err == nil:
							answered[id] = true
						case !errors.As(err, &failed):
							t.Errorf("got %v, want a CallError", err)
						case !failed.Sent:
							unsent[id] = true
						}
						mu.Unlock()
						id = ids.Add(1)
						if answer, err := c.Echo(ctx, id, rand.Int32N(1000), slices.Repeat([]byte{1}, rand.IntN(10000))); err == nil && answer.ID != id {
							t.Errorf("asked for %d, and got the answer of %d", id, answer.ID)
						}
						cancel()
					}
				})
			}
			all.Wait()
			p.Close(t.Context())
			noted, err := storm.Noted(o.server.Notes)
			if err != nil {
				t.Fatal(err)
			}
			for id, times := range noted {
				if times > 1 || unsent[id] {
					t.Errorf("%d was executed %d times, and not sent: %v", id, times, unsent[id])
				}
			}
			for id := range answered {
				if noted[id] != 1 {
					t.Errorf("%d was answered, and executed %d times", id, noted[id])
				}
			}
			if len(answered) == 0 || len(answered) == callers*calls {
				t.Errorf("%d of %d calls were answered", len(answered), callers*calls)
			}
		})
	}
}
