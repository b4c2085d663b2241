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

// TestSoakLinearizable is TestLinearizable for minutes.
func TestSoakLinearizable(t *testing.T) { publishAtOnce(t, 3*time.Minute, 0) }

// TestSoakLinearizableKills is TestLinearizable while the server of one of the three mounts is killed again and again.
func TestSoakLinearizableKills(t *testing.T) { publishAtOnce(t, 3*time.Minute, 2*time.Second) }
