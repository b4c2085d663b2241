//go:build !linux

package follow

import (
	"io/fs"
	"os"
)

// A laptop of another kind has no mount, and so no versions; and it binds no single files.

func version(*os.File) string { return "" }

func otherDevice(string, fs.FileInfo) bool { return false }
