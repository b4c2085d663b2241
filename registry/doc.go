// Package registry holds what every part of KingPin says to every other: names, versions, the errors that can be acted
// on, and each byte format that is shared with the Python KingPin.
//
// It is pure: no I/O, no clock of its own, no state. Where the bytes live is the business of registry/zookeeper,
// registry/embedded and sync/mirror. FORMATS.md in this directory describes the formats one by one.
package registry
