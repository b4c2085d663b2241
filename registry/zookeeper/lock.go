package zookeeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

const (
	// placeInfix is between 32 hex digits and the number that the ensemble gives to a place in the queue, as in kazoo's Lock.
	placeInfix = "__lock__"
	// queueRecheck is when somebody in the queue looks again, though nothing was heard of whoever is before him.
	queueRecheck = 2 * time.Second
	// tidying is how long is spent on removing something that is no longer wanted, before it is left for later.
	tidying = 5 * time.Second
)

// places matches what stands in the queue: kazoo's Lock, and the readers and writers of its shared locks.
var places = regexp.MustCompile(`__(?:lock|rlock)__(-?\d{10})$`)

// place is one in the queue for a pointer's lock. Whoever has the lowest number holds it.
type place struct {
	dir, id string // id: what its name begins with
	name    string // "" if the answer to its making was lost
	session int64
	gone    bool
}

func (p *place) path() string { return p.dir + "/" + p.name }

// left notes that a place has been given up in a transaction.
func (p *place) left(gone bool) {
	if p != nil {
		p.gone = gone
	}
}

// errDisplaced says that somebody has removed a node of ours.
var errDisplaced = errors.New("somebody has removed it")

// lock waits until it holds the lock of the publishers of the node at path: to the end of ctx, or for Options.LockTimeout behind
// somebody else; that the ensemble is slow is no such wait. Before the first publication of a node it calls exists, whose error is then
// its own.
func (c *Client) lock(ctx context.Context, l *link, path string, exists func() error) (*place, error) {
	limited, cancel := context.WithTimeout(ctx, c.options.LockTimeout)
	defer cancel()
	for {
		p, err := c.queueUp(ctx, l, path+lockSuffix, exists)
		if err != nil {
			return nil, err
		}
		holder, err := c.waitInQueue(ctx, limited, l, p)
		if err == nil {
			return p, nil
		}
		c.unlock(ctx, l, p)
		switch {
		case errors.Is(err, errDisplaced):
			continue
		case holder != "":
			return nil, fmt.Errorf("its lock %s is held by %s: %w", p.dir, holder, err)
		}
		return nil, err
	}
}

// queueUp takes the last place.
func (c *Client) queueUp(ctx context.Context, l *link, dir string, exists func() error) (*place, error) {
	var random [16]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the process first
	p := &place{dir: dir, id: hex.EncodeToString(random[:]), session: l.session.id}
	for {
		path, err := c.create(ctx, l, dir+"/"+p.id+placeInfix, nil, zk.FlagEphemeral|zk.FlagSequence)
		switch {
		case err == nil:
			p.name = path[len(dir)+1:]
			return p, nil
		case errors.Is(err, registry.ErrNotExist):
			// Nobody has published here.
			if err := exists(); err != nil {
				return nil, err
			}
			if _, err := c.create(ctx, l, dir, nil, 0); err != nil && !errors.Is(err, registry.ErrExist) {
				return nil, err
			}
			continue
		case errors.Is(err, errLost), errors.Is(err, errAbandoned):
			c.owe(debt{place: p, session: p.session})
		}
		return nil, err
	}
}

// waitInQueue returns when p is the first. With an error it says who was. It looks until ctx is done, and waits until limited is.
func (c *Client) waitInQueue(ctx, limited context.Context, l *link, p *place) (holder string, err error) {
	for {
		names, err := list(ctx, l, p.dir)
		if err != nil {
			return holder, err
		}
		queue := contenders(names)
		i := slices.Index(queue, p.name)
		switch {
		case i < 0:
			return holder, errDisplaced
		case i == 0:
			return "", nil
		}
		holder = queue[0]
		if err := c.waitFor(limited, l, p.dir+"/"+queue[i-1]); err != nil {
			return holder, err
		}
	}
}

// waitFor returns when a node may have gone.
func (c *Client) waitFor(ctx context.Context, l *link, path string) error {
	b := c.listen(path)
	defer c.leave(path, b)
	// Not by asking whether it exists: that would leave a watch on what will never exist again.
	_, err := do(ctx, l, func(conn *zk.Conn) (struct{}, error) {
		_, _, _, err := conn.GetW(path)
		return struct{}{}, err
	})
	if errors.Is(err, registry.ErrNotExist) {
		return nil
	}
	if err != nil && !errors.Is(err, registry.ErrPermission) {
		return err
	}
	recheck := time.NewTimer(queueRecheck)
	defer recheck.Stop()
	select {
	case <-b.rung:
	case <-recheck.C:
	case <-l.lost:
		return answer(errLost)
	case <-ctx.Done():
		return expired(ctx)
	}
	return nil
}

// contenders are the places in a queue, the first first.
func contenders(names []string) []string {
	number := func(name string) int64 {
		match := places.FindStringSubmatch(name)
		if match == nil {
			return math.MaxInt64
		}
		n, _ := strconv.ParseInt(match[1], 10, 64) // ten digits
		return n
	}
	queue := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return number(name) == math.MaxInt64 })
	slices.SortFunc(queue, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	return queue
}

// unlock gives a place up: at once if it can be, else as soon as there is a connection. It goes with its session in any case.
func (c *Client) unlock(ctx context.Context, l *link, p *place) {
	if p.gone {
		return
	}
	p.gone = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	if err := c.remove(ctx, l, p.path()); err != nil && !errors.Is(err, registry.ErrNotExist) {
		c.owe(debt{place: p, session: p.session})
	}
}

// turn is the queue of one pointer's publishers within this client.
type turn struct {
	token chan struct{}
	users int
}

// turn waits until nobody else in this process advances p. The caller calls done.
func (c *Client) turn(ctx context.Context, p registry.Pointer) (done func(), err error) {
	c.mu.Lock()
	t := c.turns[p]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		c.turns[p] = t
	}
	t.users++
	c.mu.Unlock()

	forget := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(c.turns, p)
		}
	}
	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, expired(ctx)
	}
}
