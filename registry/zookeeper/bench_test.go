package zookeeper_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// BenchmarkPublish compares a publish with what the old system did to the same end, by go-zookeeper alone: take a place in the queue,
// look who is first, read, set, leave.
func BenchmarkPublish(b *testing.B) {
	z, servers := ensemble(b)
	path := strings.TrimPrefix(servers, z.Addr) + string(blacklist.Pointer())
	for name, lock := range map[string]bool{"with lock": true, "without lock": false} {
		c := open(b, servers, zookeeper.Options{NoPythonLock: !lock})
		if err := c.Create(b.Context(), blacklist.Pointer()); err == nil {
			advance(b, c, blacklist.Pointer(), "", v1)
		}
		b.Run(name, func(b *testing.B) {
			s, err := c.State(b.Context(), blacklist.Pointer())
			must(b, err)
			for b.Loop() {
				next := registry.NextVersion(time.Now(), s.Version)
				s, err = c.Advance(b.Context(), blacklist.Pointer(), s.Version, next, func(context.Context) error { return nil })
				must(b, err)
			}
		})
	}
	conn := raw(b, z.Addr)
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			place, err := conn.Create(path+".lock/885edc692092414d8eaac184e6ba64b8__lock__", nil, zk.FlagEphemeral|zk.FlagSequence, everybody)
			must(b, err)
			_, _, err = conn.Children(path + ".lock")
			must(b, err)
			data, _, err := conn.Get(path)
			must(b, err)
			_, err = conn.Set(path, data, -1)
			must(b, err)
			must(b, conn.Delete(place, -1))
		}
	})
}

// BenchmarkHear compares the time from a publish to its being yielded by a feed of another client with that of a bare watch.
func BenchmarkHear(b *testing.B) {
	z, servers := ensemble(b)
	path := strings.TrimPrefix(servers, z.Addr) + string(blacklist.Pointer())
	c := open(b, servers, zookeeper.Options{})
	must(b, c.Create(b.Context(), blacklist.Pointer()))
	conn := raw(b, z.Addr)
	b.Run("feed", func(b *testing.B) {
		feed := watch(b, c, blacklist.Pointer())
		feed.until(b, "its state", func(registry.State) bool { return true })
		for i := 0; b.Loop(); i++ {
			next := fmt.Sprintf("1795296200.%09d", i)
			_, err := conn.Set(path, []byte(next), -1)
			must(b, err)
			feed.until(b, next, at(registry.Version(next)))
		}
		feed.stop()
	})
	b.Run("bare", func(b *testing.B) {
		other := raw(b, z.Addr)
		for i := 0; b.Loop(); i++ {
			_, _, event, err := other.GetW(path)
			must(b, err)
			_, err = conn.Set(path, fmt.Appendf(nil, "1795296201.%09d", i), -1)
			must(b, err)
			<-event
			_, _, err = other.Get(path)
			must(b, err)
		}
	})
}

// BenchmarkLargeSet is the time from a join until another client, which follows by Changes, has read a set of ten thousand.
func BenchmarkLargeSet(b *testing.B) {
	const many = 10_000
	z, servers := ensemble(b)
	c, conn := open(b, servers, zookeeper.Options{}), raw(b, z.Addr)
	must(b, c.Create(b.Context(), users.Pointer()))
	path := strings.TrimPrefix(servers, z.Addr) + string(users.Pointer()) + "/"
	add := func(n int) {
		e := registry.Endpoint(fmt.Sprintf("10.%d.%d.%d:9090", n/62500, n/250%250, n%250+1))
		_, err := conn.Create(path+registry.MemberNode(e), []byte(e), zk.FlagEphemeral, everybody)
		must(b, err)
	}
	var joining sync.WaitGroup
	for w := range 16 {
		joining.Go(func() {
			for n := w; n < many; n += 16 {
				add(n)
			}
		})
	}
	joining.Wait()
	defer c.Follow(users)()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	told := make(chan []registry.Pointer)
	go func() {
		defer close(told)
		for nodes := range c.Changes(ctx) {
			select {
			case told <- nodes:
			case <-ctx.Done():
			}
		}
	}()
	reads := func(want int) {
		for {
			<-told
			for m := range c.Members(ctx, users) {
				if len(m.Members) == want {
					return
				}
				break
			}
		}
	}
	reads(many)
	for n := many; b.Loop(); n++ {
		add(n)
		reads(n + 1)
	}
}
