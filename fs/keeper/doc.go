// Package keeper mounts KingPin and keeps it mounted: it holds the open /dev/fuse, and starts again what dies.
//
// One program runs as three processes. The keeper (Run) opens /dev/fuse, mounts, and supervises the other two. The
// server (which calls Attach) answers the kernel and may die at any moment: the kernel's requests wait in the
// descriptor that the keeper holds, and the next server answers them. The poker (Poke) makes system calls on the mount
// and writes notifications to the kernel on the server's behalf. The server must not do either itself: killed while
// one of its threads waits for its own answer, it could never be reaped, and everything would hang. The poker also
// looks, for the keeper, whether the server answers.
//
// Invariants:
//
//   - The keeper never touches its mount, except to mount and unmount it. So no server can make it wait.
//   - A dead mount is mounted over, never detached first: containers that had bound it would lose it for ever.
//   - The poker calls into the mount from its first thread, so the thread id the kernel shows is its process id, known
//     from fork. A server is told it before the poker makes a first call, and a new poker starts only when the old one
//     is reaped.
//   - Nobody holds /dev/fuse open while he waits for an answer that comes through it, except to notify the kernel. So
//     when all three are killed at once, the connection ends and every program that waits is freed; see poke.go and
//     abort.
//   - No two servers of one mount have the same incarnation, whoever started them.
//   - After a clean stop there is no mount and no child. After any other end, the mount point shows the plain files
//     read only, if there were any: Config.Under puts them there before the mount and over a dead one, and Rescue does
//     when the keeper is not there to do it.
//
// # Descriptors
//
//	server: 3 = /dev/fuse   4 = socket to the keeper   5 = socket to the poker
//	poker:  3 = /dev/fuse   4 = socket to the server   5 = socket to the keeper
//
// All sockets are SOCK_SEQPACKET pairs. Descriptor 3 is one open file in all three: nobody may make it non-blocking
// (before Linux 6.9 the server soon has one of its own, see clone.go). The pair between server and poker outlives
// both, since the keeper holds both ends; the server's end of descriptor 4 is made anew for each server. message.go
// and op.go say what travels on them.
//
// # What a server owes
//
// It calls Attach, finds out whether it answers the INIT request as before, Prepared, and only then takes the lock of
// what it serves. The first one calls SaveInit, every later one Resend, before it reads a request; then Ready. It ends
// when Quiesce or Done says so, or the mount is gone. And it reads requests only into memory whose first pages it has
// touched: if it is killed while the kernel copies a request to a page that is not there yet, the kernel cannot get
// that page any more, and answers the request with EIO instead of keeping it for the next server. (Measured with a
// reader and 20 kills: up to 5 failed reads from buffers that were never touched; none in 300 kills from touched
// ones.)
//
// # Who follows whom into death
//
// Children get no parent death signal: it is bound to the thread that forked, which the Go runtime may end at any
// time, and a server that outlives its keeper for a moment is what a later hand-over of the descriptor to a new keeper
// needs. Instead the end of file on descriptor 4 says that the keeper is gone (Attachment.Done); the server then ends,
// the poker sees the end of its own descriptor 4 and ends too. The mount is dead from then on, and the next keeper
// mounts over it. Both run in process groups of their own, so that a terminal's Ctrl-C reaches the keeper alone.
//
// # A server that hangs
//
// Every 3 s the keeper has the poker open and read .status/alive (watchdog.go). When 3 periods in a row bring no
// answer, a poker that has not even begun is killed; else the server is, and the next one answers whoever waits. If
// its thread cannot be killed, or the next one gives no answer either, the connection to the kernel is aborted, which
// ends every wait in it with an error, and a new mount goes over the dead one. So a hang is over, or said to be over,
// within 25 s. Time in which the machine or the keeper slept does not count. A server that was not ready yet has a
// minute.
//
// # Upgrade
//
// Another server takes over in two steps (upgrade.go), since only one may read the kernel's requests, or hold the lock
// of what it serves. On trial it is told what the kernel was promised at the mount, finds out whether it would promise
// the same (Attachment.Prepared), and waits; one that would not, or does not get that far, changes nothing. Then the
// present server is told to quiesce: it finishes, answering requests meanwhile, and ends. The new one is told that it
// is its turn, has what was left unanswered delivered again, and serves. If it does not get ready, the old command is
// started once more, and that means the file that it meant then, whatever a package has put in its place since
// (program.go). Last, the poker is replaced, between two of its calls. The keeper itself stays what it is.
//
// # The keeper's own death, and systemd
//
// With $NOTIFY_SOCKET, once the first server has saved the INIT exchange, the descriptor of the connection is parked
// in the service manager's store (manager.go), and with it a page of memory that says what a successor must know
// (state.go): the INIT exchange, the device number of the mount, the last incarnation, the servers that may still be
// alive. A keeper that is given both back and finds that mount alive on top of its mount point goes on with it, by the
// same take-over as after a server's death. Who reads meanwhile, waits. Nothing of this needs the old keeper to have
// ended in an orderly way.
//
// A SIGTERM does not say whether the service is stopped or restarted, and systemd 252 says it nowhere else: its store
// is kept while a job is queued or a restart is due, and closed after a stop, when nobody of the service runs any
// more. So at the end of ctx the keeper asks (intention.go): if the service's job is a stop, or nothing is stored, or
// there is no answer, it stops as described below. Else it leaves (leave.go): the server finishes as for an upgrade,
// the poker ends, the mount stays. What was parked must not keep programs waiting when no keeper comes to serve them:
// Rescue, as ExecStopPost=, aborts the connection when the start of a keeper has failed with an exit status, or after
// a stop that killed the keeper. The unit has to have
//
//	Type=notify, NotifyAccess=all, KillMode=mixed, Restart=always, StartLimitIntervalSec=0, FileDescriptorStoreMax=4
//
// Around an upgrade the manager hears RELOADING=1 and READY=1. WATCHDOG=1 says that the keeper's own loop turns, and
// nothing about the server, which the keeper looks after.
//
// # Stop
//
// When ctx ends, unless the mount is left to the next keeper: SIGTERM to the server, which finishes its publishes and
// goes on serving; the poker is ended, so that no call of its own can land on what lies under the mount (one that is
// stuck in a call has the connection aborted, since its server is dead or hangs); plain umount, and if somebody still
// uses the mount, a lazy one, which says who. Then the server sees the end of the mount, or gives readers a moment,
// and exits; after the grace it is killed. Last, dead mounts of ours further down are unmounted, and the plain files
// under them. No reader can hang: while the mount is up the server serves it, and once the server and the descriptor
// are gone, the kernel answers ENOTCONN.
//
// A container that had bound the mount has lost it with that. Where a stop is mostly the beginning of another keeper,
// and nobody can say so (a pod is replaced), Config.Cover lays the plain files over the mount instead of unmounting
// it.
//
// Locks: Poker.mu, then nothing. Under it small messages are written to a socket that cannot be full, because the
// order of messages is what the lock guards.
package keeper
