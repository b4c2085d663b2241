package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheSocketMayLieDeep: a state directory may have a longer path than a socket can.
func TestTheSocketMayLieDeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, controlSocket)
	if err := os.WriteFile(path, []byte("left by a monitor that died"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := listenSocket(path, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	conn, err := dialSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server := <-accepted
	defer server.Close()
	p, err := peerOf(server)
	if err != nil || p.uid != uint32(os.Getuid()) || p.pid != int32(os.Getpid()) {
		t.Errorf("peer %+v, %v", p, err)
	}
	if got := p.author("here"); !strings.HasSuffix(got, "@here") || len(got) <= len("@here") {
		t.Errorf("author %q", got)
	}

	// The name goes only if it is still ours.
	other, err := listenSocket(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	closeSocket(path, info)
	now, err := os.Lstat(path)
	if err != nil || now.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("the socket of the next monitor: %v, %v", now, err)
	}
	closeSocket(path, now)
	if _, err := os.Lstat(path); err == nil {
		t.Error("our own socket stays")
	}
}
