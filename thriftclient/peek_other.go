//go:build !unix

package thriftclient

import "net"

// peek is for systems that can look into a connection without reading from it.
type peek struct{}

func newPeek(net.Conn) *peek { return &peek{} }

func (*peek) alive() (open, unread bool) { return true, false }
