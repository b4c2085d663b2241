// Package storm runs Thrift servers that can be made to fail, for the tests and benchmarks of thriftclient: they are killed, slow,
// refusing or cut off, and count what they execute and who is connected.
//
// A Server serves in this process. A Process is one in a process of its own, which is this binary started again: its main, or its
// TestMain, calls Main first. What it executes only once it notes in a file, which outlives its death.
package storm
