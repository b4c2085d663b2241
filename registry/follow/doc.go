// Package follow turns a local file into the last good value of a type.
//
//	file, err := follow.Open("/var/kingpin/serverset/discovery.user.prod", registry.ParseServerset, follow.Options{})
//	hosts, ok := file.Load() // a pointer load; ok is false until the file was good once
//	for hosts := range file.Changes(ctx) { ... }
//
// The file may be missing, broken, or on its way: Open does not fail for that. What was good stays until something better is there, a
// broken content is reported once (Logger, Err), a missing file or directory is waited for, and it does not matter how the file is
// replaced: by rename, in place, by deleting it first, or by turning a symbolic link.
//
// It hears of changes by inotify on the file's directory, and looks at the file now and then, since there are file systems and bind
// mounts that raise no events. In a mount of KingPin it watches the file too: a directory hears of what is written on this machine before it is
// published, and only who asks for the closing of files, which fsnotify does not, hears of it after. It works on any file of any Linux file system. A mount of KingPin may die or hang: every system call
// on the directory is made by one goroutine, and if that does not come back the file is read from the next directory, the plain
// files of the monitor's state directory, until the mount is back.
//
// A directory costs one inotify instance, of which a user has 128, and two goroutines. Who follows many files of one directory opens it once, with OpenDir,
// and each file with In.
//
// Ownership: the loop of a Dir owns everything about its directories and files but the values, which are behind an atomic pointer. No locks.
package follow
