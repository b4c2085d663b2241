//go:build !linux

package manageddata

import (
	"errors"
	"os"
)

// Only Linux has mounts of KingPin. Elsewhere, on a laptop, there are plain directories.

func mounted(*os.File) bool { return false }

func attribute(*os.File, string) string { return "" }

func setAttribute(*os.File, string, string) error { return errors.ErrUnsupported }
