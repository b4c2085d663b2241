package keeper

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMountReadStop(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	cat := start(t, "cat", "FILE="+m.mount+"/"+fileName)
	if !cat.wait(5*time.Second) || cat.err != nil {
		t.Fatalf("cat: %v\n%s", cat.err, cat.log.String())
	}
	m.signal(unix.SIGINT)
	if !m.wait(5*time.Second) || m.err != nil {
		t.Fatalf("stop: %v", m.err)
	}
}
