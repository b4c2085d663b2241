package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

func runCat(ctx context.Context, inv *invocation) error {
	t, err := inv.openTree(ctx)
	if err != nil {
		return err
	}
	for _, word := range inv.words {
		if err := t.cat(ctx, word, inv); err != nil {
			return err
		}
	}
	return nil
}

// cat copies one file, or one version, to stdout.
func (t *tree) cat(ctx context.Context, word string, inv *invocation) error {
	g, err := t.named(ctx, inv, word)
	if err != nil {
		return err
	}
	if g.version != "" {
		data, err := t.version(ctx, inv, g)
		if err != nil {
			return err
		}
		_, err = inv.stdout.Write(data)
		return err
	}
	if t.direct {
		data, err := t.published(ctx, inv, g)
		if err != nil {
			return err
		}
		_, err = inv.stdout.Write(data)
		return err
	}
	file, err := os.Open(g.path(t.root))
	if err != nil {
		return fmt.Errorf("cat %s: %w", g, fromErrno(err))
	}
	defer file.Close()
	if _, err := io.Copy(inv.stdout, file); err != nil {
		return fmt.Errorf("cat %s: %w", g, fromErrno(err))
	}
	return nil
}
