package mirror

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// queue hands followers to a few workers: each follower to one worker at a time, at once or after a pause. A follower that is added
// while it is worked on is handed out once more afterwards, however often it was added.
type queue struct {
	wake chan struct{}
	work chan *follower

	mu     sync.Mutex
	fifo   []*follower
	later  pauses
	active int // followers in the hands of workers
}

// turn is a follower's place in the queue.
type turn struct {
	queued  bool // in fifo, or to be put there when the worker is done
	working bool
	due     time.Time // when the pause ends
	index   int       // in later, from 1; 0: not in it
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), work: make(chan *follower)}
}

// add has f worked on as soon as a worker is free. A pause that f is in ends.
func (q *queue) add(f *follower) {
	q.mu.Lock()
	q.put(f)
	q.mu.Unlock()
	signal(q.wake)
}

// addLater has f worked on after a pause, unless it is added before.
func (q *queue) addLater(f *follower, after time.Duration) {
	q.mu.Lock()
	f.turn.due = time.Now().Add(after)
	if f.turn.index == 0 {
		heap.Push(&q.later, f)
	} else {
		heap.Fix(&q.later, f.turn.index-1)
	}
	q.mu.Unlock()
	signal(q.wake)
}

// remove takes f out. A worker that has it finishes.
func (q *queue) remove(f *follower) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unpause(f)
	if f.turn.queued {
		f.turn.queued = false
		for i, other := range q.fifo {
			if other == f {
				q.fifo = append(q.fifo[:i], q.fifo[i+1:]...)
				break
			}
		}
	}
}

// idle says that nothing is worked on, nor waits for a worker; those that pause do not count.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fifo) == 0 && q.active == 0
}

// due is when the pause of f ends; zero if it is in none.
func (q *queue) due(f *follower) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.turn.index == 0 {
		return time.Time{}
	}
	return f.turn.due
}

func (q *queue) put(f *follower) {
	q.unpause(f)
	if f.turn.queued {
		return
	}
	f.turn.queued = true
	if !f.turn.working {
		q.fifo = append(q.fifo, f)
	}
}

func (q *queue) unpause(f *follower) {
	if f.turn.index != 0 {
		heap.Remove(&q.later, f.turn.index-1)
	}
}

// run hands out work until ctx is done, and returns when the workers have. Each calls after when he has done one.
func (q *queue) run(ctx context.Context, workers int, do func(context.Context, *follower), after func()) {
	var pool sync.WaitGroup
	defer pool.Wait()
	for range workers {
		pool.Go(func() {
			for f := range q.work {
				do(ctx, f)
				q.done(f)
				after()
			}
		})
	}
	defer close(q.work)
	for {
		f, wait := q.next()
		if f == nil {
			if !sleep(ctx, q.wake, wait) {
				return
			}
			continue
		}
		select {
		case q.work <- f:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the follower whose turn it is, or says how long until there is one; 0: until somebody adds one.
func (q *queue) next() (f *follower, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.later) > 0 && !q.later[0].turn.due.After(now) {
		q.put(q.later[0])
	}
	if len(q.fifo) > 0 {
		f = q.fifo[0]
		q.fifo[0] = nil
		q.fifo = q.fifo[1:]
		q.unpause(f)
		f.turn.queued, f.turn.working = false, true
		q.active++
		return f, 0
	}
	q.fifo = nil
	if len(q.later) > 0 {
		return nil, max(q.later[0].turn.due.Sub(now), time.Nanosecond)
	}
	return nil, 0
}

func (q *queue) done(f *follower) {
	q.mu.Lock()
	q.active--
	f.turn.working = false
	if f.turn.queued {
		q.fifo = append(q.fifo, f)
	}
	q.mu.Unlock()
	signal(q.wake)
}

// pauses is a heap of followers by when their pause ends.
type pauses []*follower

func (p pauses) Len() int           { return len(p) }
func (p pauses) Less(i, j int) bool { return p[i].turn.due.Before(p[j].turn.due) }
func (p pauses) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].turn.index, p[j].turn.index = i+1, j+1
}

// Push is heap.Interface's.
func (p *pauses) Push(x any) {
	f := x.(*follower)
	*p = append(*p, f)
	f.turn.index = len(*p)
}

// Pop is heap.Interface's.
func (p *pauses) Pop() any {
	last := len(*p) - 1
	f := (*p)[last]
	(*p)[last] = nil
	*p = (*p)[:last]
	f.turn.index = 0
	return f
}
