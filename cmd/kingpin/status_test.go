package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// kingpin wait says what it waited for in vain, and not that its own time was over in the midst of a look.
func TestWhatIsWaitedForIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		looks := 0
		err := lookAgain(ctx, func(ctx context.Context) error {
			if looks++; looks < 3 {
				return registry.ErrNotExist
			}
			<-ctx.Done()
			return registry.ErrTimeout
		})
		if !errors.Is(err, registry.ErrNotExist) || looks != 3 {
			t.Errorf("after %d looks: %v", looks, err)
		}
		hangs := func(ctx context.Context) error {
			<-ctx.Done()
			return registry.ErrTimeout
		}
		if err := lookAgain(ctx, hangs); !errors.Is(err, registry.ErrTimeout) {
			t.Errorf("what hangs from the beginning: %v", err)
		}
	})
}
