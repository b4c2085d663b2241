package thriftclient

import "time"

// Metrics hears what a pool does. Observe is called by many goroutines and delays the call that it hears of. The package
// thriftclient/prometheus has one that is ready to use.
type Metrics interface {
	Observe(Event)
}

// Event is one thing that has happened. Fields that mean nothing for its kind are zero.
type Event struct {
	Kind   Kind
	Method string        // of calls, attempts, retries and hedges
	Host   string        // of all but calls
	Took   time.Duration // of calls, attempts and dials
	Err    error         // why it failed; nil if it did not
}

// Kind is what has happened.
type Kind int

const (
	Called     Kind = iota // a call of the application is over, with all its attempts
	Attempted              // one attempt on one host is over
	Retried                // another attempt begins because one failed
	Hedged                 // another attempt begins because one is slow
	Exhausted              // another attempt was due, but the budget is used up
	Dialled                // a connection was made, or not
	Ejected                // a host is left alone from now on
	Readmitted             // it is back
)

var kinds = [...]string{"called", "attempted", "retried", "hedged", "exhausted", "dialled", "ejected", "readmitted"}

// String is the kind's name in lower case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return "unknown"
	}
	return kinds[k]
}

// nobody hears nothing.
type nobody struct{}

func (nobody) Observe(Event) {}
