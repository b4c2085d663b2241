// Package fs faces the kernel: it serves the tree of sync/disk as a FUSE file system, and turns what programs do to its files
// into publications.
//
// Three kinds of inodes. A directory, symbolic link or status file has a small fixed node id. A version of a file has
// its commit stamp as node id; it never changes, so the kernel may keep its pages and attributes for ever. A draft is the
// private inode of one writer; its id is never used again. What makes the current version of a name current is the
// directory entry: publishing swaps it. A writer never touches the inode that readers use: its open is answered with ESTALE, the
// kernel looks the name up once more, and that lookup leads to a draft (redirect.go).
//
// A decider is a key of one config that is shown as a file; the write that completes its line publishes it (decider.go). Whoever
// is interrupted while he waits for a publication is told what came of it (await.go).
//
// Reads are answered from sync/disk alone. The package is given functions that publish and edit, and imports nothing that
// could reach a network.
//
// Invariants:
//   - no request that holds a directory's lock in the kernel waits for a publication (deferred.go);
//   - no handler calls into the mount or sends a notification to the kernel; the poker does (announce.go);
//   - a handler may wait for the poker only where the kernel holds no directory lock: FLUSH, FSYNC, WRITE.
//
// Locks: FS.gate, then any other. FS.mu guards the tables of drafts, handles and scratch names, draft.mu one draft's buffer. FS.mu is never held while
// draft.mu is taken, nor during I/O.
package fs
