// Package disk keeps, on the local disk, the last few versions of every file this machine follows.
//
// A body never changes once it has a name, and its name is its commit stamp. Which version of a file is current is said by an
// append-only journal; so a reader sees the old version or the new one, and a crash leaves one of the two. Beside them the
// plain tree files/KIND/NAME shows the current versions to any program, with or without us: whole content always, but for what was
// written in the last moments before a power cut, until Open. LAYOUT.md describes the directory.
//
// Locks: Store.writing, then Store.waiting, then Store.mu. writing is held across I/O, by those who change the directory. mu
// guards what readers look at; no I/O happens under it, so that a reader waits for no disk.
package disk
