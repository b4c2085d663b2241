package zookeeper_test

import (
	"context"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// What a process that was killed has left behind is gone as soon as its successor says so, not when its session has run out.
func TestSessionOfADeadProcessIsEnded(t *testing.T) {
	_, servers := ensemble(t)
	const name = registry.Name("discovery.former.prod")
	begun := make(chan zookeeper.Session, 9)
	dead := open(t, servers, zookeeper.Options{SessionTimeout: 40 * time.Second, Begun: func(s zookeeper.Session) { begun <- s }})
	if err := dead.Create(t.Context(), name.Pointer()); err != nil {
		t.Fatal(err)
	}
	joined, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dead.Join(joined, name, registry.Member{Endpoint: "10.0.0.1:80"}) }()
	next := open(t, servers, zookeeper.Options{})
	members := func(want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // less than the session has
		defer cancel()
		for m, err := range next.Members(ctx, name) {
			if err == nil && len(m.Members) == want {
				return
			}
		}
		t.Fatalf("never had %d members", want)
	}
	members(1)

	former := <-begun
	if now := dead.Session(); now.ID != former.ID || former.ID == 0 {
		t.Fatalf("was told of session %x, and has %x", former.ID, now.ID)
	}
	dead.Bequeath() // as if killed: nobody says goodbye
	leave()
	<-ended
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	members(1)
	if err := next.Bury(t.Context(), former); err != nil {
		t.Fatal(err)
	}
	members(0)

	if err := next.Bury(t.Context(), former); err != nil {
		t.Errorf("a session that is over: %v", err)
	}
	if err := next.Bury(t.Context(), next.Session()); err != nil || !next.Connected() {
		t.Errorf("buried itself: %v", err)
	}
}
