package thriftclient_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/integration/storm"
	"github.com/kingpinfs/kingpin/thriftclient"
)

// inFlight is how many calls are running.
func inFlight(p *thriftclient.Pool) (n int) {
	for _, h := range p.Hosts() {
		n += h.InFlight
	}
	return n
}

func TestCloseDrainsAndThenInterrupts(t *testing.T) {
	s := serve(t, storm.Options{})
	p := open(t, thriftclient.Options{}, s.Addr())
	results := make(chan error, 2)
	run := func() (release func()) {
		release = s.Hold()
		go func() { results <- call(p) }()
		eventually(t, "the call is running", func() bool { return inFlight(p) == 1 })
		return release
	}
	release := run()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.Close(context.Background())
	}()
	eventually(t, "no other call begins", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond) // one that comes before is held, too
		defer cancel()
		_, err := echo(ctx, p)
		return errors.Is(err, thriftclient.ErrClosed)
	})
	release()
	if err := <-results; err != nil {
		t.Errorf("the running call was not let finish: %v", err)
	}
	<-closed

	p = open(t, thriftclient.Options{}, s.Addr())
	defer run()() // it is not answered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	p.Close(ctx)
	if err := <-results; !errors.Is(err, thriftclient.ErrClosed) {
		t.Error(err)
	}
}

func TestARemovedHostIsDrained(t *testing.T) {
	a, b := serve(t, storm.Options{}), serve(t, storm.Options{})
	sets := make(chan []thriftclient.Member, 1)
	source := func(ctx context.Context) iter.Seq2[[]thriftclient.Member, error] {
		return func(yield func([]thriftclient.Member, error) bool) {
			for {
				select {
				case set := <-sets:
					if !yield(set, nil) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
	}
	sets <- []thriftclient.Member{{Endpoint: a.Addr()}}
	p := openSource(t, source, thriftclient.Options{})
	mustEcho(t, p)
	result := make(chan error, 1)
	release := a.Hold()
	defer release()
	go func() { result <- call(p) }()
	eventually(t, "the call is running", func() bool { return inFlight(p) == 1 })
	sets <- []thriftclient.Member{{Endpoint: b.Addr()}}
	eventually(t, "the other host", func() bool { return p.Hosts()[0].Endpoint == b.Addr() })
	for range 10 {
		if host := mustEcho(t, p); host != b.Addr() {
			t.Errorf("%s is asked after it has gone", host)
		}
	}
	release()
	if err := <-result; err != nil {
		t.Errorf("a call that was running on a removed host: %v", err)
	}
}
