package zookeeper_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
)

// TestLockOfAKilledPublisher: a publisher that is killed leaves its place at the head of the queue for as long as its session lasts.
// Whoever is started after it on this machine gives that up at once, so nobody waits for the session.
func TestLockOfAKilledPublisher(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	z, servers := ensemble(t)
	pointer := registry.Name("config.manageddata.lock.orphan").Pointer()
	one := open(t, servers, zookeeper.Options{})
	must(t, one.Create(t.Context(), pointer))
	advance(t, one, pointer, "", "1000000000.000000001")

	_, chroot, _ := strings.Cut(servers, "/")
	lock := "/" + chroot + string(pointer) + ".lock"
	dead := raw(t, z.Addr) // its session goes on
	place, err := dead.Create(lock+"/"+id+"__lock__", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	must(t, err)
	notes := filepath.Join(t.TempDir(), "locks")
	must(t, os.Mkdir(notes, 0o700))
	must(t, os.WriteFile(filepath.Join(notes, id), []byte(lock+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(notes, strings.Repeat("f", 32)), nil, 0o600)) // killed while it took the note

	next := open(t, servers, zookeeper.Options{Notes: notes, LockTimeout: time.Minute})
	advance(t, next, pointer, "1000000000.000000001", "1000000000.000000002")
	if there, _, err := dead.Exists(place); err != nil || there {
		t.Errorf("the dead one's place is still there: %v, %v", there, err)
	}
	eventually(t, func() error { return empty(notes) })
	advance(t, next, pointer, "1000000000.000000002", "1000000000.000000003")
	must(t, empty(notes))
}

// empty says what is in a directory, as an error.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = &os.PathError{Op: "empty", Path: filepath.Join(dir, entries[0].Name()), Err: os.ErrExist}
	}
	return err
}
