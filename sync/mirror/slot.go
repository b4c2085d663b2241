package mirror

import "context"

const (
	// waiting is how many names are brought home at a time for each that is asked about or fetched: the others wait for the disk, and
	// who waits together shares one wait.
	waiting = 8

	// smallBody is the size up to which bodies may wait for the disk in any number, in bytes. So there are at most 16 MiB of them.
	smallBody = 64 << 10
)

// slots bound how many names are asked about, or fetched, at a time.
type slots chan struct{}

// slot is one of them, and a nil one is nothing.
type slot struct{ from slots }

// take waits for a slot until ctx is done.
func (s slots) take(ctx context.Context) (*slot, error) {
	select {
	case s <- struct{}{}:
		return &slot{s}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives it back, once.
func (s *slot) release() {
	if s != nil && s.from != nil {
		<-s.from
		s.from = nil
	}
}
