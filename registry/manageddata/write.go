package manageddata

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kingpinfs/kingpin/registry"
)

// ErrPlain is the error of Write where there is no mount.
var ErrPlain = errors.New("not a mount of KingPin")

// Write replaces a whole file of the mount, whatever is in it: one decider's, say. Where there is no mount it is ErrPlain. It gives up waiting when ctx is done, and then nobody knows
// whether the file was written.
func (d *Dir) Write(ctx context.Context, kind registry.Kind, name string, content []byte) error {
	done := make(chan error, 1)
	d.writes.Go(func() { done <- d.write(filepath.Join(d.root, kind.String(), name), content) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write %s: %w: %w", name, registry.ErrUnknown, ctx.Err())
	}
}

func (d *Dir) write(path string, content []byte) error {
	if !mount(d.root) {
		return fmt.Errorf("%s: %w", d.root, ErrPlain)
	}
	file, err := openFile(path, os.O_WRONLY|os.O_CREATE|syscall.O_TRUNC)
	if err != nil {
		return reasoned(path, err)
	}
	if _, err = file.Write(content); err != nil { // a decider is published by the write itself
		file.Close()
		return reasoned(path, err)
	}
	if err := file.Close(); err != nil {
		return reasoned(path, err)
	}
	return nil
}
