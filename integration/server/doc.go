// Package server runs the servers that KingPin talks to, the real ones, for tests and benchmarks.
//
// Each listens on a free port of the loopback interface, keeps what it has in a directory of its caller, and can be stopped,
// killed and started again with the same port and directory, since outages are most of what is tested. None outlives the process
// that started it.
package server
