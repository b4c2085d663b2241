package server

import "testing"

// TestEnsemble: it answers while two of three do.
func TestEnsemble(t *testing.T) {
	e := StartEnsemble(t, 3)
	e.Servers[0].Stop()
	if err := e.Servers[1].answers(); err != nil && e.Servers[2].answers() != nil {
		t.Errorf("two of three do not answer: %v", err)
	}
	if _, err := e.Ephemerals("/"); err != nil {
		t.Error(err)
	}
	if err := e.Servers[0].Start(); err != nil {
		t.Fatal(err)
	}
}
