//go:build soak

package integration

import (
	"testing"
	"time"
)

// TestSoakFleetOutages is TestFleetOutages with outages that sessions and patience do not survive.
func TestSoakFleetOutages(t *testing.T) {
	surviveOutages(t, time.Second, 5*time.Second, 30*time.Second)
}

// TestSoakFleetWithPython is TestFleetWithPython for a minute.
func TestSoakFleetWithPython(t *testing.T) {
	shareWithPython(t, time.Minute)
}
