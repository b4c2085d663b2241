package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPosix are the cases of posixtest that this mount refuses or answers in its own way on purpose.
var notPosix = map[string]string{
	"FileBasic":                  "a scratch file is always 0600: it belongs to its writer",
	"LinkUnlinkRename":           "no hard links",
	"Link":                       "no hard links",
	"FcntlFlockLocksFile":        "locks are the kernel's own, and this test asks for remote ones",
	"RenameOpenDir":              "no directories but dependencies",
	"RenameOverwriteDestExist":   "no directories but dependencies",
	"RenameOverwriteDestNoExist": "no directories but dependencies",
	"MkdirRmdir":                 "no directories but dependencies",
	"OpenAt":                     "no directories but dependencies",
	"DirSeek":                    "no directories but dependencies",
	"ReadDirBasic":               "config/ is not empty to begin with",
	"SetattrSymlink":             "no symbolic links but in dependencies",
	"SymlinkReadlink":            "no symbolic links but in dependencies",
	"OpenSymlinkRace":            "no symbolic links but in dependencies",
	"XAttr":                      "a scratch file keeps no attributes of its own",
	"XAttrLarge":                 "a scratch file keeps no attributes of its own",
	"Tmpfile":                    "EOPNOTSUPP",
	"Fallocate":                  "EOPNOTSUPP",
	"FallocateKeepSize":          "EOPNOTSUPP",
}

// TestPosix runs go-fuse's suite on scratch files: to the program that writes one, a config directory is a directory.
func TestPosix(t *testing.T) {
	m := start(t)
	dir := filepath.Dir(m.config())
	for name, test := range posixtest.All {
		if notPosix[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			test(t, dir)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != aConfig {
					os.Remove(filepath.Join(dir, e.Name()))
				}
			}
		})
	}
}
