package keeper

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On kernels before 6.9 a request in flight ends with an error when the server dies, and nobody waits for ever.
func TestWithoutResendARequestInFlightEndsWithItsServer(t *testing.T) {
	m := newMonitor(t, "SERVER_CANNOT_RESEND=1")
	for n := range 2 { // the first server saves the INIT exchange, the second finds it saved
		server := m.serving(n + 1)
		cat := start(t, "cat", "FILE="+m.mount+"/"+hangingName)
		eventually(t, "a request hangs", func() bool { return strings.Count(m.log.String(), "will never be answered") == n+1 })
		unix.Kill(server, unix.SIGKILL)
		killed := time.Now()
		if !cat.wait(patience) || !strings.Contains(cat.log.String(), unix.ECONNABORTED.Error()) {
			t.Errorf("the program whose request server %d had read: %v %s", n+1, cat.err, cat.log.String())
		}
		t.Logf("the error came after %v", time.Since(killed).Round(time.Millisecond))
	}
	m.serving(3)
	m.cat(t)
}

func TestWithoutResendReadsGoOnAfterAKill(t *testing.T) {
	t.Parallel()
	const kills = 10
	m := newMonitor(t, "SERVER_CANNOT_RESEND=1")
	m.serving(1)
	reader := start(t, "reader", "FILE="+m.mount+"/"+fileName)
	for n := range kills {
		server := m.serving(n + 1)
		<-time.After(2 * serverHealthy) // or the next one is started later and later
		unix.Kill(server, unix.SIGKILL)
	}
	m.serving(kills + 1)
	m.cat(t)
	reader.in.Close()
	reader.wait(patience)
	text := reader.log.String()
	t.Log(strings.TrimSpace(text))
	if !strings.Contains(text, "reads=") {
		t.Errorf("the reader hangs: %s", text)
	}
	failed := strings.Count(text, "failed: ")
	if failed > kills || failed != strings.Count(text, unix.ECONNABORTED.Error()) {
		t.Errorf("more than an interrupted request per kill: %s", text)
	}
}

func TestResendIsReadFromTheReply(t *testing.T) {
	reply := make([]byte, 80)
	if resends(reply) || resends(nil) || resends(reply[:replyFlags+3]) {
		t.Error("resends without having said so")
	}
	reply[replyFlags] = hasResend
	if !resends(reply) {
		t.Error("does not resend")
	}
}
