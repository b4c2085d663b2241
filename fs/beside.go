package fs

import (
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// A gesture may change more files than the one that it is made at: a decider is a key of a config, and a name that is subscribed to
// brings its file. Who made it reads those next, so the kernel forgets what it knows of them before he goes on.

// deciderMap is the config whose keys the deciders are.
func deciderMap() disk.File {
	return disk.File{Kind: registry.Config, Name: string(registry.DeciderName)}
}

// beside is called before a file is published. What it returns is called after that, and says which others have changed with it.
func (f *FS) beside(file disk.File) func() []disk.File {
	switch {
	case file.Kind == registry.Decider:
		return func() []disk.File {
			return slices.DeleteFunc([]disk.File{deciderMap()}, f.announced)
		}
	case file == deciderMap():
		before := f.store.List(registry.Decider)
		return func() []disk.File {
			fresh := f.fresh(registry.Decider)
			for _, e := range before {
				if _, here := f.store.Current(e.File); !here {
					fresh = append(fresh, e.File)
				}
			}
			return fresh
		}
	}
	return func() []disk.File { return nil }
}

// fresh are the files of these kinds of whose present version the kernel may not know.
func (f *FS) fresh(kinds ...registry.Kind) []disk.File {
	var files []disk.File
	for _, e := range f.store.Unannounced() {
		if slices.Contains(kinds, e.Kind) {
			files = append(files, e.File)
		}
	}
	return files
}

// announced says whether the kernel has been told of the present version of a file.
func (f *FS) announced(file disk.File) bool {
	e, here := f.store.Current(file)
	return !here || f.store.LastAnnounced(file) >= e.Stamp
}
