package fs

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
)

// Promise 4: of a write whose outcome nobody knows the writer is not told that it changed nothing, whatever the reason is.
func TestAnUnknownOutcomeIsEIO(t *testing.T) {
	for _, reason := range []error{registry.ErrUnreachable, registry.ErrTimeout, registry.ErrConflict} {
		err := fmt.Errorf("it may have been published, the answer was lost (%w): %w", reason, registry.ErrUnknown)
		if got := status(err); got != fuse.Status(syscall.EIO) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if got := status(fmt.Errorf("the registry is away: %w", registry.ErrUnreachable)); got != fuse.Status(syscall.EHOSTUNREACH) {
		t.Errorf("unreachable: %v", got)
	}
}
