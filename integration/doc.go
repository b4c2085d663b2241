// Package integration runs the built binary as its users do: separate processes, real mounts, the tools people have.
//
// What is here is the harness: Build makes the binary, Start runs a monitor on a mount and a state directory of its own,
// Stop ends it and looks behind it. The stories are in the tests; bench measures.
//
// The process that uses this package is never the server, so it may touch a mount. A mount whose server hangs would take the
// caller with it: Abort, called from a timer, makes the kernel answer everybody who waits.
package integration
